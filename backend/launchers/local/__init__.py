"""Run attempts as processes of this machine."""
