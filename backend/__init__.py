"""A training backend for Kubernetes that fits in one pod."""

__version__ = "0.2.0"
