"""Measurements of sweeps: their samplers, their stop rules, their pages."""
