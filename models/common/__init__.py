"""What the models have in common: settings, data files, the training loop, checkpoints, results.

A model's `train.py` puts the folder above this one on `sys.path`, so that `common` is found where
nothing is installed: in a checkout, in the wheel and in an image. `common` imports no model.
"""
