"""Run attempts as Kubernetes Jobs."""
