"""Measurements of the trainers."""
