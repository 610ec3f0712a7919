"""Schemas of requests and responses, one module for each routes module that needs any."""
