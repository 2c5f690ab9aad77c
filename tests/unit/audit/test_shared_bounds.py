"""What docs/verification.md bounds, other verifiers bound too: one of bundles, and one of statement files."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import rfc8785

from audit.folds import registry as registry_fold
from audit.statements.check import Check, check_statement
from audit.statements.file import ProvedEntry, StatementFile
from audit.verification import named as named_room
from ledger.acts.entries import BankAccountContent, Decision, KeyChangeContent, PayRunContent, ProposalContent
from ledger.money import MAX_AMOUNT_MINOR
from ledger.registry import Collective
from payout.policy import CommonsRule, Policy
from tests.support.batches import Event, event_id
from tests.support.exports import KEY, PoolSource, bundle_of
from tests.support.independent import verifier
from tests.support.mutations import finding_of, refusal_of
from tests.support.pool_log import PoolLog
from tests.support.replay_history import HISTORY, with_domains
from tests.support.statement_files import NO_NODE, NODE, checked_by_node, part_of, small_log, statement_file
from tests.unit.audit.test_key_changes import CHANGED, NEW, NEXT, OLD, TWICE, change_of, verified

needs_node = pytest.mark.skipif(NODE is None, reason=NO_NODE)
VKEY: Final = KEY.verifier_key


def hold(log: PoolLog, folder: Path) -> bool:
    """Whether both verifiers hold a bundle of the log, which they agree on."""
    bundle = bundle_of(log, folder / "bundle.tar")
    ours, theirs = finding_of(bundle), refusal_of(bundle)
    assert (ours is None) == (theirs is None), (ours, theirs)
    return ours is None


# Amounts.


def rich_log(distribute: str = "REPORTED", policy: Policy | None = None) -> PoolLog:
    """A pool in which a collective has, or the commons have, more than one payment may be."""
    log = PoolLog(collectives=[Collective("eire", "E", 300)])
    log.open(policy or Policy(commons_ppm=0), distribute)
    log.method(1_000_000)
    log.usage([Event(event_id(1), units=3, shares=(("eire", 1_000_000_000),))])
    if distribute == "REPORTED":
        for _ in range(2):
            log.revenue(MAX_AMOUNT_MINOR)
        log.calculate()
        log.decide(Decision.APPROVED, "operators/oscar")
        log.post()
    return log


MOVED: Final[dict[str, Callable[[int], tuple[PoolLog, Any]]]] = {
    "report": lambda amount: (log := rich_log(), log.revenue(amount)),
    "receipt": lambda amount: (log := rich_log("RECEIVED"), log.receipt(amount)),
    "receipt of nobody's": lambda amount: (log := rich_log("RECEIVED"), log.receipt(amount, "")),
    "payment": lambda amount: (log := rich_log(), log.payment("eire", amount)),
    "grant": lambda amount: (
        log := rich_log(policy=Policy(commons_ppm=1_000_000, commons_rule=CommonsRule.FUND)), log.grant("eire", amount),
    ),
}  # fmt: skip


@pytest.mark.parametrize("amount", [MAX_AMOUNT_MINOR, MAX_AMOUNT_MINOR + 1])
@pytest.mark.parametrize("move", MOVED.values(), ids=MOVED)
def test_nothing_moves_more_than_the_service_takes(
    move: Callable[[int], tuple[PoolLog, Any]], amount: int, tmp_path: Path
) -> None:
    assert hold(move(amount)[0], tmp_path) == (amount == MAX_AMOUNT_MINOR)


@needs_node
def test_a_file_shows_no_payment_of_more_than_the_service_takes() -> None:
    log = small_log(Policy())
    files = []
    for amount in (MAX_AMOUNT_MINOR, MAX_AMOUNT_MINOR + 1):
        log.payment("eire", amount)
        files.append(statement_file(log, 1, "eire").to_bytes())
    assert [check_statement(file, VKEY).failed for file in files] == [None, Check.ENTRIES]
    assert [said["failed"] for said in checked_by_node(files, str(VKEY))] == [None, "entries"]


TERMS: Final[list[tuple[dict[str, Any], bool]]] = [
    ({"fee_cap_minor": 10**15}, True),
    ({"fee_cap_minor": 10**15 + 1}, False),
    ({"fee_cap_minor": 2**63}, False),
    ({"fee_ppm": 10**6 + 1}, False),
    ({"ai_only_ppm": 10**7}, True),
    ({"ai_only_ppm": 10**7 + 1}, False),
    ({"floor_minor": 5, "cap_minor": 5}, True),
    ({"floor_minor": 5, "cap_minor": 4}, False),
    ({"review_seconds": 366 * 86_400 + 1}, False),
    ({"approval": "SILENCE", "review_seconds": 259_199}, False),
    ({"period": "QUARTER", "period_from": "1970-Q1"}, True),
    ({"period": "QUARTER", "period_from": "1969-Q4"}, False),
    ({"period": "QUARTER", "period_from": "2026-01"}, False),
    ({"period_from": "2026-01"}, False),
]


@pytest.mark.parametrize(("terms", "holds"), TERMS)
def test_a_policy_has_its_ranges(terms: dict[str, Any], holds: bool, tmp_path: Path) -> None:
    log = deepcopy(HISTORY)
    log.policy(Policy(**terms))
    assert hold(log, tmp_path) == holds


@needs_node
def test_a_policy_has_its_ranges_in_a_file() -> None:
    files = []
    for terms, _ in TERMS:
        log = small_log(Policy())
        at = log.policy(Policy(**terms))
        file = statement_file(log, 1, "eire")
        indexes = [{"index": json.loads(proved.entry)["index"]} for proved in file.pool.entries]
        part = part_of(PoolSource(log).checkpoint(), log.entries, [*indexes, {"index": at}])
        files.append(replace(file, pool=part).to_bytes())
    expected = [None if holds else "entries" for _, holds in TERMS]
    assert [check_statement(file, VKEY).failed for file in files] == expected
    assert [said["failed"] for said in checked_by_node(files, str(VKEY))] == expected


@pytest.mark.parametrize("amount", [2**63 - 1, 2**63])
def test_a_body_has_no_amount_beyond_64_bits(amount: int, tmp_path: Path) -> None:
    log = deepcopy(HISTORY)
    registry = log.registry
    registry.now = log.now
    plan: dict[str, Any] = {
        "salt": "0" * 64, "payments": [],
        "not_paid": [{"collective": "eire", "amount_minor": str(amount), "why": "SUSPENDED"}],
    }  # fmt: skip
    registry.act(
        BankAccountContent(
            bank_account="main", display_name="M", currency="EUR", pools=["folk"], opening_minor=0,
            details_hash="0" * 64,
        )
    )  # fmt: skip
    registry.act(
        PayRunContent(
            pay_run="march", bank_account="main", currency="EUR", day="2026-03-05", payments=0, amount_minor=0,
            plan_sha256=registry.put(rfc8785.dumps(plan)),
        )
    )  # fmt: skip
    assert hold(log, tmp_path) == (amount < 2**63)


# Changes of the key.


def both(log: PoolLog, folder: Path, **signed: Any) -> tuple[bool, bool]:
    """Whether ours, and theirs, holds a bundle that these keys signed."""
    found = verified(folder, log, **signed).finding
    try:
        verifier.verify(folder / "folk.tar", str(OLD.verifier_key))
    except (AssertionError, KeyError):
        return found is None, False
    return found is None, True


def test_there_are_so_many_changes_of_the_key_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for room, name in ((named_room, "MAX_CHANGES"), (registry_fold, "MAX_CHANGES"), (verifier, "MOST_CHANGES")):
        monkeypatch.setattr(room, name, 1)
    assert both(CHANGED, tmp_path, signer=NEW) == (True, True)
    assert both(TWICE, tmp_path, signer=NEXT) == (False, False)
    assert both(TWICE, tmp_path, signer=NEW) == (False, False)


def test_their_lists_have_so_many_bytes_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = len(change_of().listed())
    for room, name in (
        (named_room, "MAX_LISTED_BYTES"), (registry_fold, "MAX_LISTED_BYTES"), (verifier, "MOST_LISTED"),
    ):  # fmt: skip
        monkeypatch.setattr(room, name, most)
    assert both(CHANGED, tmp_path, signer=NEW) == (True, True)
    assert both(TWICE, tmp_path, signer=NEXT) == (False, False)
    assert both(TWICE, tmp_path, signer=NEW) == (False, False)


def with_changes(count: int) -> StatementFile:
    """A file with so many entries that are changes of the key, all of them the same and in no log."""
    file = statement_file(small_log(Policy()), 1, "eire")
    log = PoolLog()
    log.append(KeyChangeContent(note=change_of().note.decode(), logs_sha256="0" * 64))
    entries = (*file.registry.entries, *[ProvedEntry(log.entries[0].entry, ())] * count)
    return replace(file, registry=replace(file.registry, entries=entries))


@needs_node
def test_a_file_has_so_many_changes_of_the_key_at_most() -> None:
    files = [with_changes(count).to_bytes() for count in (1_000, 1_001)]
    for said in ([check_statement(file, VKEY).reason for file in files],
                 [each["reason"] for each in checked_by_node(files, str(VKEY))]):  # fmt: skip
        assert "one chain" in said[0]
        assert "more changes of the key" in said[1]


# Bodies.


DOMAINS: Final = {
    b"": True,
    b"a.example\ncontent-id:m:\nlocalhost\nxn--bcher-kva.example\n": True,
    b"-a_.0x1\n": True,
    "content-id:é\n".encode(): True,
    b"a" * 63 + b"\n": True,
    b"a" * 64 + b"\n": False,
    b".".join([b"a" * 62] * 4) + b"\n": True,
    b".".join([b"a" * 62] * 3 + [b"a" * 63, b"b"]) + b"\n": False,
    b"content-id:" + b"x" * 256 + b"\n": True,
    b"content-id:" + b"x" * 257 + b"\n": False,
    b"".join(b"a%03d\n" % number for number in range(1_000)): True,
    b"".join(b"a%03d\n" % number for number in range(1_001)): False,
    b"\n": False,
    b"a.example": False,
    b"A.example\n": False,
    b"a..example\n": False,
    b"127.0.0.1\n": False,
    b"content-id:\n": False,
    b"content-id:a b\n": False,
    "content-id:a\u2028b\n".encode(): False,
    "content-id:a\xa0\n".encode(): False,
    b"\xff\n": False,
    b"a.example\r\n": False,
    b"b.example\na.example\n": False,
    b"a.example\na.example\n": False,
}


@pytest.mark.parametrize(("body", "holds"), [*DOMAINS.items()], ids=range(len(DOMAINS)))
def test_domains_have_one_form(body: bytes, holds: bool, tmp_path: Path) -> None:
    assert hold(with_domains(body), tmp_path) == holds


@pytest.mark.parametrize(
    ("figure", "most"),
    [("salt_sha256", 64), ("domains_sha256", 268_000), ("review_began_sha256", 2**20), ("body_sha256", 2**25),
     ("x_sha256", 2**25 + 1)],
)  # fmt: skip
@pytest.mark.parametrize("more", [0, 1])
def test_a_body_has_so_many_bytes_at_most_by_the_field_that_names_it(
    figure: str, most: int, more: int, tmp_path: Path
) -> None:
    log = deepcopy(HISTORY)
    content = {figure: log.put(bytes(most + more))}
    log.append(ProposalContent(effect="closing.v1", content=content, rests_on={}, reason=""))
    assert hold(log, tmp_path) == (not more or figure == "x_sha256")
