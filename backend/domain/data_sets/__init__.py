"""Data sets: what their files hold, which fit together, and which ones an experiment uses."""
