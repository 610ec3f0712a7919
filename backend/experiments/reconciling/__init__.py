"""What the reconciler does besides recording observations: one module per duty."""
