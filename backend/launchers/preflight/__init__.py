"""Checks, before anything trains, whether every node reaches the same two folders."""
