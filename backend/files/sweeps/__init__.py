"""The folders of sweeps."""
