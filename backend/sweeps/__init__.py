"""Sweeps: many experiments made from one search space, of which the hopeless ones are stopped."""
