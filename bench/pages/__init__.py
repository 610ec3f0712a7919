"""Measurements of the pages and streams that a client reads."""
