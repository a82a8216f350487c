"""Alembic's migrations: plain SQL, forward only."""
