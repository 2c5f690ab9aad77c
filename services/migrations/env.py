"""Runs migrations on the connection that `services.schema` hands over."""

from __future__ import annotations

from alembic import context

from ledger.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
