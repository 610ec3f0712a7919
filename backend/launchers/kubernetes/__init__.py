"""Attempts as Kubernetes Jobs."""
