"""The peers of intake: other ways to keep the same usage in the same Postgres.

Each writes over one connection of its own, one transaction a batch, and counts its rows at the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import psycopg
import pyarrow as pa

from bench.figures import timed

HEADER, TRAILER = b"PGCOPY\n\xff\r\n\x00" + bytes(8), b"\xff\xff"


def copy_events(url: str, batches: list[pa.RecordBatch]) -> float:
    """Events per second: a row per event, of its id and two int arrays, with a unique index on the id."""
    table = "peer (id uuid PRIMARY KEY, collectives int4[] NOT NULL, shares int4[] NOT NULL)"
    seconds = _copied(url, table, map(_event_rows, batches), rows=sum(map(len, batches)))
    return sum(map(len, batches)) / seconds


def copy_scores(url: str, batches: list[pa.RecordBatch]) -> float:
    """Scores per second: a row per score, unique by event and collective."""
    scores = sum(len(batch.column("shares").values) for batch in batches)
    table = "peer (event uuid, collective int4, share int4 NOT NULL, PRIMARY KEY (event, collective))"
    return scores / _copied(url, table, map(_score_rows, batches), rows=scores)


def _copied(url: str, table: str, buffers: Iterable[bytes], *, rows: int) -> float:
    """Seconds to copy the buffers; making them is not timed."""
    encoded = list(buffers)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS peer")
        connection.execute(f"CREATE TABLE {table}")
        with timed() as seconds:
            for buffer in encoded:
                with connection.cursor().copy("COPY peer FROM STDIN (FORMAT BINARY)") as copy:
                    copy.write(buffer)
        _require_rows(connection, "peer", rows)
        connection.execute("DROP TABLE peer")
    return seconds()


def _require_rows(connection: psycopg.Connection[tuple[int]], table: str, rows: int) -> None:
    (found,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,)
    if found != rows:
        raise AssertionError(f"{table} has {found} rows of {rows}")


def _event_rows(batch: pa.RecordBatch) -> bytes:
    ids, indices, shares = _arrays(batch)
    width = shares.shape[1]
    array = [("dimensions", ">i4"), ("nulls", ">i4"), ("type", ">u4"), ("length", ">i4"), ("first", ">i4")]
    items = [("items", [("bytes", ">i4"), ("value", ">i4")], (width,))]
    layout = [("fields", ">i2"), ("id_bytes", ">i4"), ("id", "V16")]
    rows = np.zeros(
        len(ids), dtype=[*layout, *((name, [("bytes", ">i4"), *array, *items]) for name in ("collectives", "shares"))]
    )
    rows["fields"], rows["id_bytes"], rows["id"] = 3, 16, ids
    for name, values in (("collectives", indices), ("shares", shares)):
        rows[name]["bytes"] = 20 + 8 * width
        rows[name]["dimensions"], rows[name]["type"], rows[name]["length"], rows[name]["first"] = 1, 23, width, 1
        rows[name]["items"]["bytes"], rows[name]["items"]["value"] = 4, values
    return HEADER + rows.tobytes() + TRAILER


def _score_rows(batch: pa.RecordBatch) -> bytes:
    ids, indices, shares = _arrays(batch)
    columns = [("id", "V16"), ("collective", ">i4"), ("share", ">i4")]
    layout = [part for name, kind in columns for part in ((f"{name}_bytes", ">i4"), (name, kind))]
    rows = np.empty(shares.size, dtype=[("fields", ">i2"), *layout])
    rows["fields"], rows["id_bytes"], rows["collective_bytes"], rows["share_bytes"] = 3, 16, 4, 4
    rows["id"] = np.repeat(ids, shares.shape[1])
    rows["collective"], rows["share"] = indices.ravel(), shares.ravel()
    return HEADER + rows.tobytes() + TRAILER


def _arrays(batch: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids (n,), and collectives and shares (n, width): every event of the workload has as many."""
    events = len(batch)
    indices = batch.column("collectives").values.indices.to_numpy().reshape(events, -1)
    shares = batch.column("shares").values.to_numpy().reshape(events, -1)
    return np.frombuffer(batch.column("event_id").buffers()[1], dtype="V16", count=events), indices, shares


_LEDGER: Final = """
CREATE TABLE peer_account (
    id bigint PRIMARY KEY, balance numeric NOT NULL DEFAULT 0, version bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE peer_transfer (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    from_account bigint NOT NULL REFERENCES peer_account, to_account bigint NOT NULL REFERENCES peer_account,
    amount numeric NOT NULL CHECK (amount > 0), created_at timestamptz NOT NULL DEFAULT now(), metadata jsonb
);
CREATE TABLE peer_entry (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account bigint NOT NULL REFERENCES peer_account, transfer bigint NOT NULL REFERENCES peer_transfer,
    amount numeric NOT NULL, balance_before numeric NOT NULL, balance_after numeric NOT NULL,
    account_version bigint NOT NULL, created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON peer_transfer (from_account);
CREATE INDEX ON peer_transfer (to_account);
CREATE INDEX ON peer_entry (account);
CREATE INDEX ON peer_entry (transfer);
CREATE FUNCTION peer_post(source bigint, targets bigint[], amounts bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    place int; made bigint; side record; after peer_account;
BEGIN
    PERFORM 1 FROM peer_account WHERE id = source OR id = ANY (targets) ORDER BY id FOR UPDATE;
    FOR place IN 1 .. array_length(targets, 1) LOOP
        INSERT INTO peer_transfer (from_account, to_account, amount)
        VALUES (source, targets[place], amounts[place]) RETURNING id INTO made;
        FOR side IN
            SELECT *
            FROM (VALUES (source, -amounts[place]), (targets[place], amounts[place])) AS sides (account, amount)
        LOOP
            UPDATE peer_account SET balance = balance + side.amount, version = version + 1, updated_at = now()
            WHERE id = side.account RETURNING * INTO after;
            INSERT INTO peer_entry (account, transfer, amount, balance_before, balance_after, account_version)
            VALUES (side.account, made, side.amount, after.balance - side.amount, after.balance, after.version);
        END LOOP;
    END LOOP;
END $$;
"""


def plain_ledger(url: str, batch: pa.RecordBatch, *, collectives: int, events: int) -> float:
    """Scores per second: a transfer per score, an event a transaction, in a double-entry ledger of plain SQL.

    The design is pgledger's (github.com/pgr0ss/pgledger): accounts with a running balance and a version, locked in
    order; transfers; two entries for each with the balance before and after; a function that posts an array of them.
    """
    _, indices, shares = _arrays(batch)
    with psycopg.connect(url, autocommit=True) as connection:
        drop = "DROP TABLE IF EXISTS peer_entry, peer_transfer, peer_account; DROP FUNCTION IF EXISTS peer_post"
        connection.execute(drop)
        connection.execute(_LEDGER)
        connection.execute("INSERT INTO peer_account (id) SELECT generate_series(-1, %s)", [collectives - 1])
        with timed() as seconds:
            for place in range(events):
                connection.execute("SELECT peer_post(-1, %s, %s)", [indices[place].tolist(), shares[place].tolist()])
        scores = events * shares.shape[1]
        _require_rows(connection, "peer_transfer", scores)
        _require_rows(connection, "peer_entry", 2 * scores)
        connection.execute(drop)
    rate: float = scores / seconds()
    return rate
