"""The routes of sweeps: the API, and their pages of the dashboard."""
