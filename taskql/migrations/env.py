"""Alembic runs this with the connection that taskql.adapters.postgres.migrations opened."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
