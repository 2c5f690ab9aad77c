"""A page that a disk broke is named by the check of the database, which goes on to the other pools."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import psycopg
import pytest

from ledger.errors import LedgerCorruptError
from ledger.store.postgres.database import Database
from moiety import Policy, Pool
from services.cli.audit.fsck import check_pools
from services.cli.base.output import Output
from services.process.embedded import embedded_postgres
from services.schema import upgrade
from tests.support.deployment import SteppedClock, deployed
from tests.support.scene import NAMED_PLATFORMS, POOL, events, open_scene

_FILE_OF_LONG_BODIES: Final = "SELECT pg_relation_filepath(reltoastrelid) FROM pg_class WHERE oid = 'body'::regclass"


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="moiety-test-") as made:
        yield Path(made)


def break_page(file: Path) -> None:
    """Turn over a byte in the middle of a file's first page."""
    with file.open("r+b") as opened:
        opened.seek(4_000)
        byte = opened.read(1)
        opened.seek(4_000)
        opened.write(bytes([byte[0] ^ 0xFF]))


def test_a_broken_page_is_named_and_the_other_pools_are_checked(folder: Path, clock: SteppedClock) -> None:
    with embedded_postgres(folder) as url:
        upgrade(url)
        with deployed(url, clock) as deployment:
            scene = open_scene(deployment)
            scene.operator.create_pool(
                "jazz", Pool(display_name="Jazz", currency="USD", policy=Policy(), platforms=NAMED_PLATFORMS)
            )
            scene.submit(events(range(1_000)), "b")
        with psycopg.connect(url) as connection:
            (path,) = connection.execute(_FILE_OF_LONG_BODIES).fetchone() or ("",)
    break_page(folder / "postgres" / path)
    with embedded_postgres(folder) as url:
        database = Database(url)
        reports = {report.pool: report for report in check_pools(Output(as_json=True), database, "", [], every=False)}
        (found,) = reports[POOL].findings
        assert (found.where.table, found.figure) == ("body", "page")
        assert "block=0" in found.where.key
        assert reports["jazz"].leaves
        assert [*reports] == ["registry", POOL, "jazz", ""]
        assert sum(report.finding_count for report in reports.values()) == 1
        with pytest.raises(LedgerCorruptError, match="invalid page"), database.transaction() as connection:
            connection.exec_driver_sql("SELECT sum(length(bytes::text)) FROM body")
        database.close()
