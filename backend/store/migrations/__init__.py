"""Alembic migrations, one change each, safe to repeat after a kill. Never edit a released one."""
