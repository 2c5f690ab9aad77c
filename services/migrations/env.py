"""Runs migrations on the connection that `services.schema` hands over."""

from alembic import context

from ledger.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
