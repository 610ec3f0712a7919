"""Gangs: the Job of an experiment that several nodes train together, and what its pods say."""
