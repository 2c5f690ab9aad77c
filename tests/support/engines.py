"""Engines on the tests' databases, with the rights of the role that the URL names."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ledger.store.postgres.connections import as_driver_url, open_ours


def engine_at(url: str, **options: Any) -> sa.Engine:
    """An engine that keeps no connection, unless the options, which are SQLAlchemy's, say otherwise."""
    engine = sa.create_engine(as_driver_url(url), **({"poolclass": sa.NullPool} | options))
    open_ours(engine)
    return engine
