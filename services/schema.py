"""The database's schema: bringing it up to date, and saying whether it is.

Postgres enforces immutability by privileges alone: the service's role may insert and read, and update five tables.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import ledger.store.tables
import payout.store.tables
from ledger.store.database import SERVICE_ROLE, as_driver_url
from ledger.store.tables import metadata
from services.access.keys import api_key

APPEND_ONLY: Final = (*ledger.store.tables.APPEND_ONLY, *payout.store.tables.APPEND_ONLY)
UPDATABLE: Final = (*ledger.store.tables.UPDATABLE, *payout.store.tables.UPDATABLE, api_key)

_MIGRATION_LOCK: Final = 0x4D6F6966
"""Two processes that migrate at once take turns."""


def upgrade(url: str, *, app_password: str = "") -> None:
    """Bring the schema up to date, as its owner. Repeating it changes nothing.

    With a password the service's role may log in; without, a login must be made a member of it by other means.
    """
    engine = sa.create_engine(as_driver_url(url))
    try:
        with engine.begin() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            if app_password:
                quoted = connection.execute(sa.select(sa.func.quote_literal(app_password))).scalar_one()
                connection.exec_driver_sql(f"ALTER ROLE {SERVICE_ROLE} LOGIN PASSWORD {quoted}".replace("%", "%%"))
    finally:
        engine.dispose()


def pending_revisions(connection: sa.Connection) -> list[str]:
    """The migrations that this database still lacks, oldest first."""
    present = MigrationContext.configure(connection).get_current_revision()
    script = ScriptDirectory.from_config(_config())
    revisions = [revision.revision for revision in script.walk_revisions("base", "head")][::-1]
    return revisions[revisions.index(present) + 1 :] if present in revisions else revisions


def differences(connection: sa.Connection) -> list[str]:
    """Where the migrated schema is not what the code's tables say; empty where it is."""
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return [str(difference) for difference in compare_metadata(context, metadata)]


def excess_privileges(connection: sa.Connection) -> list[str]:
    """What the service's role may do beyond what it should, such as `DELETE on leaf`; empty where nothing."""
    found = []
    for table in metadata.sorted_tables:
        forbidden = ["DELETE", "TRUNCATE"] if table in UPDATABLE else ["UPDATE", "DELETE", "TRUNCATE"]
        for privilege in forbidden:
            query = sa.select(sa.func.has_table_privilege(SERVICE_ROLE, table.name, privilege))
            if connection.execute(query).scalar_one():
                found.append(f"{privilege} on {table.name}")
    return found


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
