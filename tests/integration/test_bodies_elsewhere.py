"""Bodies in object storage: a folder, and a real S3 server. Whatever is read is the same as from Postgres."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final
from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa

from audit.batches.means import Means
from audit.files.spills import SpillFolder
from audit.fsck import CheckReport, check_pool, read_registry
from ledger.errors import InvalidInputError, StoreUnavailableError
from ledger.store import tables as t
from ledger.store.logs.bodies import ELSEWHERE_BYTES, Bodies, BodySweptError, Objects, key_of
from ledger.store.logs.log import PoolRef
from ledger.store.logs.objects import open_objects
from ledger.store.pools.pools import pool_ref
from ledger.store.postgres.database import Database
from moiety import DataLossError, Mode, UnavailableError, UsageEvent, batch_of
from moiety import NotFoundError as NotThereError
from moiety.v1.audit_pb2 import REPLAY_OUTCOME_MATCH
from moiety.v1.usage_pb2 import Receipt
from tests.support.books import execute
from tests.support.deployment import Deployment
from tests.support.fsck_scene import report_of
from tests.support.objects import BUCKET, require_s3, s3_server
from tests.support.scene import METHOD, NOON, POOL, Scene, event, open_scene

MANY: Final = 4_000
"""Events with ids at random, whose body is then larger than what stays in Postgres."""


@pytest.fixture(params=["folder", "s3"])
def bodies_url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty object store."""
    if request.param == "folder":
        yield (tmp_path / "objects").as_uri()
        return
    require_s3()
    with s3_server() as (endpoint, _):
        for name, value in {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "moiety",
            "AWS_SECRET_ACCESS_KEY": "moiety",
            "AWS_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        yield f"s3://{BUCKET}/books"


@pytest.fixture
def objects(bodies_url: str) -> Objects:
    return open_objects(bodies_url)


@pytest.fixture
def owner_database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url, connections=8, role=None)
    yield opened
    opened.close()


@pytest.fixture
def scene(deploy: Callable[..., Deployment], bodies_url: str) -> Scene:
    return open_scene(deploy(bodies_url=bodies_url))


def large(seed: int) -> list[UsageEvent]:
    ids = np.random.default_rng(seed).bytes(16 * MANY)
    return [
        UsageEvent(UUID(bytes=ids[16 * n : 16 * n + 16]), NOON, 1, Mode.AI_ONLY, {"irish": 600_000_000})
        for n in range(MANY)
    ]


def send(scene: Scene, usage: list[UsageEvent], batch_id: str) -> Receipt:
    (receipt,) = scene.platform.submit_usage(POOL, batch_of(usage), METHOD, batch_id=batch_id)
    return receipt


def ref(database: Database) -> PoolRef:
    with database.reading() as connection:
        return pool_ref(connection, POOL)


def rows(database: Database, table: sa.Table) -> list[sa.Row[tuple[object, ...]]]:
    with database.reading() as connection:
        return list(connection.execute(sa.select(table).where(table.c.pool_id != 0)).all())


def checked(database: Database, objects: Objects) -> CheckReport:
    with database.snapshot() as connection, SpillFolder() as spills:
        found = read_registry(connection)
        return report_of(check_pool(connection, found.pools[0], found, Bodies(objects), Means(spills.new)))


def digest_of(database: Database, batch_id: str) -> bytes:
    (found,) = [bytes(row.body_sha256) for row in rows(database, t.batch) if row.batch_id.startswith(batch_id)]
    return found


def test_a_large_body_lies_elsewhere_and_everything_that_reads_it_finds_it(
    scene: Scene, database: Database, objects: Objects
) -> None:
    usage = large(1)
    receipt = send(scene, usage, "large")
    scene.submit([event(1)], "small")
    digest = digest_of(database, "large")
    (row,) = rows(database, t.body_object)
    assert (bytes(row.sha256), row.is_named) == (digest, True)
    in_postgres = {bytes(row.sha256) for row in rows(database, t.body)}
    assert digest_of(database, "small") in in_postgres
    assert digest not in in_postgres
    stored = objects.get(key_of(ref(database), digest))
    assert stored is not None
    assert [objects.has(key_of(ref(database), each)) for each in (digest, bytes(32))] == [True, False]
    assert len(stored) >= ELSEWHERE_BYTES
    auditor = scene.deployment.client("auditors/ada")
    assert auditor.get_body(POOL, digest) == stored
    wanted = [digest, digest_of(database, "small"), bytes(32)]
    together = Bodies(objects).read_all(database, ref(database), wanted, len(stored))
    small = Bodies(objects).read_all(database, ref(database), wanted, len(stored) - 1)
    alone = [Bodies(objects).read_all(database, ref(database), [digest], most) for most in (len(stored), 9)]
    assert {key: sha256(body).digest() for key, body in together.items()} == {key: key for key in wanted[:2]}
    assert small.keys() == {wanted[1]}
    assert alone == [{digest: stored}, {}]
    assert Bodies(objects).read_all(database, ref(database), [bytes(32)], 9) == {}
    found = scene.platform.find_event(POOL, str(usage[7].event_id))
    assert found.leaf_index == receipt.leaf_index
    scene.platform.retract_usage(POOL, request_id="r", event_ids=[str(usage[7].event_id)], reason="twice")
    scene.pay_in(100, "pay")
    scene.cut("round")
    assert scene.operator.replay_round(POOL, 1).outcome == REPLAY_OUTCOME_MATCH
    assert send(scene, usage, "large").leaf_index == receipt.leaf_index
    report = checked(database, objects)
    assert report.findings == []
    assert report.rows["body_object"] == 1


def test_where_the_store_is_away_nothing_is_recorded_and_the_same_call_succeeds_later(
    deploy: Callable[..., Deployment], database: Database, tmp_path: Path
) -> None:
    away = tmp_path / "objects"
    away.write_text("no folder")
    scene = open_scene(deploy(bodies_url=away.as_uri()))
    with pytest.raises(UnavailableError, match="the store of bodies is not available"):
        scene.platform.submit_usage(POOL, batch_of(large(1)), METHOD, batch_id="b", timeout_seconds=2)
    assert rows(database, t.batch) == []
    assert rows(database, t.event) == []
    # The log has what callers do not see.
    with pytest.raises(StoreUnavailableError, match=f"not available: .*'{away}"):
        open_objects(away.as_uri()).put("folk/bodies/aa/bb", b"body")
    away.unlink()
    assert send(scene, large(1), "b").accepted_count == MANY


def test_a_body_in_a_file_is_read_without_postgres_and_one_in_postgres_without_the_folder(
    deploy: Callable[..., Deployment], database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, away = (tmp_path / "objects").as_uri(), tmp_path / "away"
    scene = open_scene(deploy(bodies_url=url))
    send(scene, large(1), "large")
    scene.submit([event(1)], "small")
    pool, digest, small = ref(database), digest_of(database, "large"), digest_of(database, "small")
    away.write_text("no folder")
    assert sha256(Bodies(open_objects(away.as_uri())).fetch(database, pool, small)).digest() == small
    with pytest.raises(StoreUnavailableError):
        Bodies(open_objects(away.as_uri())).fetch(database, pool, digest)
    monkeypatch.setattr(Database, "reading", lambda _: pytest.fail("Postgres was asked"))
    assert sha256(Bodies(open_objects(url)).fetch(database, pool, digest)).digest() == digest


def test_a_remote_store_that_is_away_is_unavailable_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "moiety")
    away = open_objects(f"s3://{BUCKET}/books")
    for call in (
        lambda: away.get("a"),
        lambda: away.has("a"),
        lambda: away.put("a", b""),
        lambda: list(away.stored("a")),
    ):
        with pytest.raises(StoreUnavailableError):
            call()


def test_a_body_that_is_lost_or_changed_elsewhere_is_named(scene: Scene, database: Database, objects: Objects) -> None:
    send(scene, large(1), "b")
    digest = digest_of(database, "b")
    key = key_of(ref(database), digest)
    body = objects.get(key)
    assert body is not None
    auditor = scene.deployment.client("auditors/ada")
    objects.put(key, body[:-1])
    with pytest.raises(DataLossError):
        auditor.get_body(POOL, digest)
    (finding,) = checked(database, objects).findings
    assert (finding.where.key, finding.figure) == (f"sha256={digest.hex()}", "bytes")
    objects.delete(key)
    with pytest.raises(NotThereError):
        auditor.get_body(POOL, digest)
    (finding,) = checked(database, objects).findings
    assert (finding.where.key, finding.claimed) == (f"sha256={digest.hex()}", "none")
    objects.put(key, body)
    assert checked(database, objects).findings == []


def test_fsck_finds_a_row_of_another_body_where_its_own_is_elsewhere_too(
    scene: Scene, database: Database, objects: Objects, owner: sa.Engine
) -> None:
    send(scene, large(1), "b")
    digest = digest_of(database, "b")
    body = objects.get(key_of(ref(database), digest))
    with database.transaction() as connection:
        connection.execute(sa.insert(t.body).values(pool_id=ref(database).pool_id, sha256=digest, bytes=body))
    with database.reading() as connection:
        behind = list(Bodies(objects).rows_behind(connection, ref(database)))
    assert behind == [(digest, body)] * objects.are_near
    assert checked(database, objects).findings == []
    execute(owner, f"UPDATE body SET bytes = set_byte(bytes, 99, 1) WHERE sha256 = '\\x{digest.hex()}'")
    (finding,) = checked(database, objects).findings
    assert (finding.where.key, finding.figure) == (f"sha256={digest.hex()}", "bytes")


def test_fsck_finds_a_row_that_would_have_a_body_swept_and_one_that_keeps_what_no_leaf_names(
    scene: Scene, database: Database, objects: Objects, owner: sa.Engine
) -> None:
    send(scene, large(1), "b")
    execute(owner, "UPDATE body_object SET is_named = false")
    (finding,) = checked(database, objects).findings
    assert (finding.figure, finding.claimed) == ("is_named", "False")
    execute(owner, "UPDATE body_object SET is_named = true")
    with database.transaction() as connection:
        objects.put(key_of(ref(database), sha256(b"").digest()), b"x" * ELSEWHERE_BYTES)
        Bodies(objects).name(connection, ref(database), [sha256(b"").digest()], NOON)()
    (finding,) = checked(database, objects).findings
    assert (finding.figure, finding.claimed) == ("is_named", "True")


def test_a_sweep_takes_what_no_leaf_names_and_nobody_writes(
    scene: Scene, database: Database, objects: Objects, owner_database: Database
) -> None:
    send(scene, large(1), "b")
    bodies, pool, now = Bodies(objects), ref(database), datetime.now(UTC)
    left, other = (sha256(text).digest() for text in (b"left", b"other"))
    for digest in (left, other):
        bodies.write(pool, b"of a server that crashed", digest)
    assert list(bodies.sweep(owner_database, pool, now)) == []
    assert objects.has(key_of(pool, left))
    later = now + timedelta(days=2)
    assert sorted(bodies.sweep(owner_database, pool, later)) == sorted([left, other])
    assert [objects.has(key_of(pool, digest)) for digest in (left, other)] == [False, False]
    assert objects.has(key_of(pool, digest_of(database, "b")))
    assert list(bodies.sweep(owner_database, pool, later)) == []
    with pytest.raises(BodySweptError), database.transaction() as connection:
        bodies.name(connection, pool, [left], now)()
    bodies.write(pool, b"again", left)
    with database.transaction() as connection:
        bodies.name(connection, pool, [left], now)()
    assert list(bodies.sweep(owner_database, pool, later)) == []
    assert objects.get(key_of(pool, left)) == b"again"


def test_a_sweep_takes_what_was_left_half_written(
    deploy: Callable[..., Deployment], database: Database, owner_database: Database, tmp_path: Path
) -> None:
    scene = open_scene(deploy(bodies_url=tmp_path.as_uri()))
    send(scene, large(1), "b")
    (whole,) = (path for path in tmp_path.rglob("*") if path.is_file())
    left = [whole.with_name(f".{whole.name}.{name}") for name in ("yesterday", "now")]
    for path in left:
        path.write_bytes(b"half")
    os.utime(left[0], (NOON.timestamp(), NOON.timestamp()))
    assert list(Bodies(open_objects(tmp_path.as_uri())).sweep(owner_database, ref(database), datetime.now(UTC))) == []
    assert [path.exists() for path in (*left, whole)] == [False, True, True]


def test_what_an_older_server_left_as_about_to_be_written_is_swept_and_can_be_named(
    scene: Scene, database: Database, objects: Objects, owner_database: Database, owner: sa.Engine
) -> None:
    """Such a server committed a row, not yet named, before it wrote the object."""
    send(scene, large(1), "b")
    pool, digest = ref(database), digest_of(database, "b")
    execute(owner, "UPDATE body_object SET is_named = false")
    with database.transaction() as connection:
        Bodies(objects).name(connection, pool, [digest], NOON)()
    assert [row.is_named for row in rows(database, t.body_object)] == [True]
    execute(owner, "UPDATE body_object SET is_named = false")
    later = datetime.now(UTC) + timedelta(days=2)
    assert list(Bodies(objects).sweep(owner_database, pool, later)) == [digest]
    assert rows(database, t.body_object) == []


@pytest.mark.usefixtures("scene")
def test_whatever_races_with_a_sweep_what_is_named_is_there(
    database: Database, objects: Objects, owner_database: Database
) -> None:
    """Each round a writer writes and names one body, while two sweeps take all that is not named, of any age."""
    bodies, pool, body = Bodies(objects), ref(database), b"raced"

    def write(digest: bytes) -> None:
        while True:
            # To these sweeps a file that is being written is days old as well.
            with suppress(BodySweptError, StoreUnavailableError):
                bodies.write(pool, body, digest)
                with database.transaction() as connection:
                    bodies.name(connection, pool, [digest], NOON)()
                return

    stop = threading.Event()

    def sweep() -> None:
        while not stop.is_set():
            list(bodies.sweep(owner_database, pool, datetime.now(UTC) + timedelta(days=2)))

    sweepers = [threading.Thread(target=sweep) for _ in range(2)]
    for each in sweepers:
        each.start()
    digests = [sha256(str(number).encode()).digest() for number in range(40)]
    try:
        for digest in digests:
            write(digest)
    finally:
        stop.set()
        for each in sweepers:
            each.join()
    assert [digest.hex() for digest in digests if objects.get(key_of(pool, digest)) != body] == []
    assert {bytes(row.sha256) for row in rows(database, t.body_object) if row.is_named} == set(digests)


def test_a_batch_whose_object_was_swept_is_written_again(
    scene: Scene, database: Database, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = scene.deployment.running.parts.usage
    written = store.bodies.write
    swept: list[bytes] = []

    def swept_at_first(pool: PoolRef, body: bytes, digest: bytes) -> None:
        written(pool, body, digest)
        if not swept:
            objects.delete(key_of(pool, digest))
        swept.append(digest)

    monkeypatch.setattr(store.bodies, "write", swept_at_first)
    assert send(scene, large(1), "b").accepted_count == MANY
    assert swept == [digest_of(database, "b")] * 2
    assert checked(database, objects).findings == []


def test_a_url_that_is_no_store_is_refused() -> None:
    for url in ("ftp://x/y", "/var/bodies", "file://", "s3://"):
        with pytest.raises(InvalidInputError, match="MOIETY_BODIES_URL"):
            open_objects(url)
