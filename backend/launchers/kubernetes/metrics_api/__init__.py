"""The metrics API of Kubernetes: what pods use, where a cluster measures it."""
