"""Requests and responses about sweeps."""
