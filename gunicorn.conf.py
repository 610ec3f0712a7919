"""Configuration for plain `gunicorn` in this folder: the same as for `python -m backend web`."""

from backend.gunicorn_config import *  # noqa: F403
