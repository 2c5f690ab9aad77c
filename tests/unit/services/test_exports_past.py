"""A log that does not hang together stops an export, which says where."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

import pytest

from ledger.errors import LedgerCorruptError
from ledger.files.layout import MAX_FILE_BYTES
from ledger.income import ReportContent
from ledger.log.leaves import Content, Leaf
from ledger.usage.entries import (
    MethodContent,
    ModeTotals,
    UsageContent,
    encode_positions,
)
from ledger.usage.shares import parse_batch
from payout.entries import PostingContent
from services.exports.parquet.events import events_table
from services.exports.past import Past
from tests.support.batches import body_of, some_events


class Bodies:
    """A source that has bodies and no leaves."""

    pool = "folk"

    def __init__(self, *bodies: bytes) -> None:
        self._bodies = {sha256(body).digest(): body for body in bodies}

    def body(self, sha256: bytes, *, bytes_max: int = MAX_FILE_BYTES) -> bytes:
        assert len(self._bodies[sha256]) <= bytes_max
        return self._bodies[sha256]


def leaf(index: int, content: Content) -> Leaf[Any]:
    return Leaf("folk", index, datetime(2026, 1, 1, tzinfo=UTC), content)


METHOD: Final = MethodContent(method="ngram", version=1, display_name="N", confidence_ppm=10**6, evidence_uri="")


def usage(body: bytes, *, accepted: int = 3, duplicates: tuple[int, ...] = (), version: int = 1) -> UsageContent:
    totals = ModeTotals(events=0, attributed=0, unattributed=0)
    return UsageContent(
        platform="acme", batch_id="b", body_sha256=sha256(body).hexdigest(), body_bytes=len(body), method="ngram",
        method_version=version, accepted=accepted, duplicates=encode_positions(list(duplicates)), ai_only=totals,
        human_ai=totals,
    )  # fmt: skip


def past_of(*bodies: bytes) -> Past:
    source: Any = Bodies(*bodies)
    past = Past(source)
    past.take_in(leaf(1, METHOD))
    return past


def test_a_batch_is_read_by_the_method_that_it_names() -> None:
    body = body_of(some_events(3))
    assert len(past_of(body).usage(2, usage(body))) == 3


def test_a_method_version_that_was_never_declared_is_named() -> None:
    body = body_of(some_events(3))
    with pytest.raises(LedgerCorruptError, match="leaf 2: method_version: expected a version declared before, got 2"):
        past_of(body).usage(2, usage(body, version=2))


def test_a_body_that_is_no_batch_is_named() -> None:
    with pytest.raises(LedgerCorruptError, match="leaf 2: arrow_stream"):
        past_of(b"no").usage(2, usage(b"no"))


def test_a_posting_of_a_round_that_is_not_there_is_named() -> None:
    posting = leaf(7, PostingContent(round=3, transfer_count=0, amount_minor=0))
    with pytest.raises(LedgerCorruptError, match=r"leaf 7: round\.v1 3: does not precede the entry that names it"):
        past_of().transfers(posting)


def test_what_moves_nothing_has_no_transfers() -> None:
    assert past_of().transfers(leaf(1, METHOD)) == ()
    content = ReportContent(
        platform="acme",
        request_id="r",
        period="2026-05",
        amount_minor=5,
        currency="EUR",
        distribute="REPORTED",
        payment_reference="RF1",
        note="",
    )
    (moved,) = past_of().transfers(leaf(2, content))
    assert (moved.from_account, moved.to_account, moved.amount_minor) == ("platform/acme", "revenue", 5)


@pytest.mark.parametrize(("accepted", "duplicates"), [(2, ()), (3, (0,)), (2, (3,)), (4, ())])
def test_a_leaf_that_counts_other_events_is_named(accepted: int, duplicates: tuple[int, ...]) -> None:
    body = body_of(some_events(3))
    with pytest.raises(LedgerCorruptError, match="leaf 2: counts other events than the 3 in its body"):
        events_table(2, usage(body, accepted=accepted, duplicates=duplicates), parse_batch(body))


def test_events_without_shares_and_duplicates_are_rows_too() -> None:
    body = body_of(some_events(3))
    rows = events_table(2, usage(body, accepted=2, duplicates=(1,)), parse_batch(body)).to_pylist()
    assert [(row["position"], row["accepted"], row["shares"]) for row in rows] == [
        (0, True, []), (1, False, []), (2, True, []),
    ]  # fmt: skip
