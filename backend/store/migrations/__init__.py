"""Alembic's migrations: one change each, safe to run again after a kill. Released, never edited."""
