"""Plain data and rules of sweeps."""
