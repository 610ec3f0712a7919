"""Tells other programs what has become of experiments."""
