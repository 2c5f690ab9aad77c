"""What a log may say once and in order: versions, batches, requests; and who may hold an account."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from audit.batches.identities import Identities
from audit.files.spills import SpillFolder
from audit.findings import Finding
from audit.steps import Step
from audit.verification.report import Report
from ledger.acts.entries import Decision
from ledger.income import ReportContent, payment_reference
from ledger.registry import Collective
from ledger.usage.format import AI_ONLY
from ledger.usage.methods import ScoreKind, ScoreRule
from payout.policy import CommonsRule, Policy
from tests.support.batches import Event, event_id
from tests.support.exports import bundle_of, report_of
from tests.support.pool_log import PoolLog

NANO: Final = 10**9


def event(number: int, *shares: tuple[str, int]) -> Event:
    return Event(event_id(number), None, number, 1000, AI_ONLY, shares or (("eire", NANO),))


@pytest.fixture
def log() -> PoolLog:
    log = PoolLog(collectives=[Collective("eire", "É", 1), Collective("han", "汉", 1)])
    log.open(Policy(commons_rule=CommonsRule.FUND, commons_ppm=500_000))
    log.method(900_000)
    return log


def settle(log: PoolLog) -> int:
    index = log.calculate()
    log.decide(Decision.APPROVED, "policy")
    log.post()
    return index


def verified(log: PoolLog, tmp_path: Path) -> Report:
    return report_of(bundle_of(log, tmp_path / "folk.tar"))


def found_in(log: PoolLog, tmp_path: Path) -> Finding:
    finding = verified(log, tmp_path).finding
    assert finding is not None, "it held"
    return finding


def what(finding: Finding) -> tuple[Step | None, int, str, str, str]:
    return finding.step, finding.where.leaf_index, finding.figure, finding.claimed, finding.expected


# Versions.


def test_usage_under_an_older_version_of_its_method_is_found(log: PoolLog, tmp_path: Path) -> None:
    log.method(100_000)
    index = log.usage([event(1)])
    log.change(index, method_version=1)
    log.revenue(100_000)
    settle(log)
    assert what(found_in(log, tmp_path)) == (Step.BATCHES, index, "method_version", "1", "2")


def test_usage_under_an_older_version_of_its_membership_is_found(log: PoolLog, tmp_path: Path) -> None:
    log.membership({"song": "eire"})
    log.method(1_000_000, "influence", ScoreRule(ScoreKind.COUNT), "items")
    log.membership({"song": "han"})
    index = log.scores([Event(event_id(1), None, 1, 1, AI_ONLY, (("song", 1.0),))])  # type: ignore[arg-type]
    log.change(index, membership_version=1)
    assert what(found_in(log, tmp_path)) == (Step.BATCHES, index, "membership_version", "1", "2")


DECLARE: Final[dict[str, Callable[[PoolLog], int]]] = {
    "method": lambda log: log.method(500_000),
    "policy": lambda log: log.policy(Policy(fee_ppm=1)),
    "membership": lambda log: log.membership({"song": "han"}),
}


@pytest.mark.parametrize("version", [1, 3, 0, -1, 7])
@pytest.mark.parametrize("kind", list(DECLARE))
def test_a_version_that_is_declared_again_or_skips_one_is_found(
    kind: str, version: int, log: PoolLog, tmp_path: Path
) -> None:
    log.membership({"song": "eire"})
    log.usage([event(1)])
    index = DECLARE[kind](log)
    assert verified(log, tmp_path).finding is None
    log.change(index, version=version)
    assert what(found_in(log, tmp_path)) == (Step.FORMS, index, "version", str(version), "2")


@pytest.mark.parametrize("kind", ["method", "membership"])
def test_a_first_version_is_the_first(kind: str, log: PoolLog, tmp_path: Path) -> None:
    index = log.method(1, "other") if kind == "method" else log.membership({"song": "eire"})
    log.change(index, version=2)
    assert what(found_in(log, tmp_path)) == (Step.FORMS, index, "version", "2", "1")


def test_batches_that_no_chosen_round_counts_are_under_the_latest_versions_too(log: PoolLog, tmp_path: Path) -> None:
    log.method(100_000)
    index = log.usage([event(1)])
    log.change(index, method_version=1)
    log.revenue(10)
    log.usage([event(2)])
    settle(log)
    settle(log)
    finding = report_of(bundle_of(log, tmp_path / "folk.tar"), rounds=frozenset([2])).finding
    assert finding is not None
    assert what(finding) == (Step.BATCHES, index, "method_version", "1", "2")


# Batches and requests.


def repeated(log: PoolLog, kind: str) -> tuple[int, int]:
    """Leaves of two entries of a kind, neither of which is wrong for itself."""
    log.revenue(100_000)
    log.usage([event(1), event(2)])
    settle(log)
    if kind == "batch":
        return log.usage([event(3)]), log.usage([event(4)])
    if kind == "retraction":
        batch = log.usage([event(3), event(4)])
        return log.retract(batch, [0]), log.retract(batch, [1])
    if kind == "revenue":
        return log.revenue(5), log.revenue(5)
    if kind == "round":
        return settle(log), settle(log)
    make: dict[str, Callable[[], int]] = {
        "payment": lambda: log.payment("eire", 5),
        "grant": lambda: log.grant("han", 5),
    }
    first, _, other = kind.partition(" and ")
    return make[first](), make[other or first]()


def reference(log: PoolLog, leaf: int, request_id: str) -> dict[str, Any]:
    """The payment reference that follows from a report's request id."""
    content = log.content(leaf)
    if not isinstance(content, ReportContent):
        return {}
    return {"payment_reference": payment_reference("folk", content.platform, request_id)}


@pytest.mark.parametrize("kind", ["batch", "retraction", "revenue", "round", "payment", "grant", "payment and grant"])
def test_what_is_said_twice_counts_twice_and_is_found(kind: str, log: PoolLog, tmp_path: Path) -> None:
    one, other = repeated(log, kind)
    assert verified(log, tmp_path).finding is None
    field = "batch_id" if kind == "batch" else "request_id"
    identity = getattr(log.content(one), field)
    log.change(other, **{field: identity}, **reference(log, other, identity))
    expected = f"one that leaf {one} does not have"
    assert what(found_in(log, tmp_path)) == (Step.EVENTS, other, field, identity, expected)


def test_requests_of_two_platforms_or_of_two_kinds_may_have_one_id(log: PoolLog, tmp_path: Path) -> None:
    log.usage([event(1)])
    leaves = [log.revenue(100_000), log.revenue(5, "zen")]
    leaves += [log.retract(log.usage([event(2)])), log.retract(log.usage([event(3)]))]
    leaves.append(settle(log))
    leaves.append(log.payment("eire", 5))
    for leaf in leaves:
        log.change(leaf, request_id="january", **reference(log, leaf, "january"))
    batches = [log.usage([event(4)]), log.usage([event(4)], "zen")]
    for leaf in batches:
        log.change(leaf, batch_id="january")
    assert verified(log, tmp_path).finding is None


def test_an_entry_of_a_kind_without_identity_may_come_again(log: PoolLog) -> None:
    identities = {log.content(index).type: log.content(index).identity for index in range(log.size())}
    assert identities == {"pool.v1": None, "method.v1": None}


@pytest.mark.parametrize("count", [2, 5_000, 300_000])
def test_repetitions_are_found_however_many_there_are(count: int) -> None:
    with SpillFolder() as spills:
        identities = Identities(spills.new, salt=7)
        for leaf in range(count):
            identities.add(leaf, ("request_id", "report.v1", "acme", str(leaf)))
        for leaf, again in ((count, count - 1), (count + 1, 0)):
            identities.add(leaf, ("request_id", "report.v1", "acme", str(again)))
        assert identities.conflicts(9) == [(count, count - 1), (count + 1, 0)]


def test_identities_are_compared_part_by_part() -> None:
    with SpillFolder() as spills:
        identities = Identities(spills.new)
        for leaf, identity in enumerate([("a", "b"), ("ab",), ("a", "b", ""), ('a", "b',), ("a\0b",)]):
            identities.add(leaf, identity)
        assert identities.conflicts(9) == []


# Collectives.


def test_a_registry_without_a_collective_that_has_a_deficit_is_found(log: PoolLog, tmp_path: Path) -> None:
    # Its part of so small a pot is less than a unit, so it never had an account; its statement alone says what it owes.
    log.revenue(1)
    batch = log.usage([event(1, ("han", NANO))])
    settle(log)
    log.retract(batch)
    settle(log)
    assert log.left_over()[0].by_collective.keys() == {"han"}
    log.revenue(100_000)
    log.collectives = [each for each in log.collectives if each.name != "han"]
    index = log.calculate()
    finding = found_in(log, tmp_path)
    assert what(finding) == (Step.ROUNDS, index, "collectives not in the registry", "['han']", "[]")


def test_a_collective_in_no_registry_that_is_granted_and_paid_is_found(log: PoolLog, tmp_path: Path) -> None:
    log.usage([event(1)])
    log.revenue(100_000)
    settle(log)
    log.grant("ghost", 100)
    log.payment("ghost", 60)
    assert what(found_in(log, tmp_path)) == (Step.BALANCES, -1, "collectives not in the registry", "['ghost']", "[]")
    index = settle(log)
    finding = found_in(log, tmp_path)
    assert what(finding) == (Step.ROUNDS, index, "collectives not in the registry", "['ghost']", "[]")
    assert (found := report_of(bundle_of(log, tmp_path / "folk.tar"), rounds=frozenset([1])).finding) is not None
    assert found.where.leaf_index == index


def test_a_collective_that_was_registered_after_the_last_round_may_be_granted(log: PoolLog, tmp_path: Path) -> None:
    log.usage([event(1)])
    log.revenue(100_000)
    settle(log)
    log.grant("new", 100)
    log.collectives.append(Collective("new", "N", 1))
    settle(log)
    report = verified(log, tmp_path)
    assert report.finding is None
    assert Step.BALANCES not in report.skipped


def test_no_usage_follows_the_leaf_that_closed_the_pool(log: PoolLog, tmp_path: Path) -> None:
    log.revenue(100)
    before = log.usage([event(1)])
    closing = log.close()
    settle(log)
    assert verified(log, tmp_path).finding is None
    after = log.usage([event(2)])
    expected = f"none: leaf {closing} closed the pool to usage"
    assert what(found_in(log, tmp_path)) == (Step.BATCHES, after, "usage", "usage.v1", expected)
    assert before < closing


def test_usage_of_before_is_not_taken_back_after_the_closing(log: PoolLog, tmp_path: Path) -> None:
    batch = log.usage([event(1)])
    log.close()
    taken_back = log.retract(batch)
    assert what(found_in(log, tmp_path))[1:4] == (taken_back, "usage", "retraction.v1")


def test_a_pool_is_closed_once(log: PoolLog, tmp_path: Path) -> None:
    log.close()
    again = log.close()
    assert what(found_in(log, tmp_path))[1:4] == (again, "type", "closing.v1")


@pytest.mark.parametrize(
    ("change", "figure"),
    [
        ({"version": 3}, "version"),
        ({"platform": "", "version": 1}, "version"),
        ({"platform": "nobody"}, "platform"),
        ({"rate_units": 0}, "tariff.rate_units"),
        ({"period_from": "1969-12"}, "tariff.period_from"),
    ],
)
def test_a_tariff_is_the_next_of_a_registered_platform_and_within_bounds(
    log: PoolLog, tmp_path: Path, change: dict[str, Any], figure: str
) -> None:
    log.tariff()
    log.tariff("acme")
    index = log.tariff("acme", 2)
    assert verified(log, tmp_path).finding is None
    log.change(index, **change)
    finding = found_in(log, tmp_path)
    assert finding.where.leaf_index == index
    assert figure in f"{finding.figure} {finding.claimed} {finding.expected}"


def test_no_report_declares_an_income_below_zero(log: PoolLog, tmp_path: Path) -> None:
    index = log.report(7, income_minor=10**15)
    assert verified(log, tmp_path).finding is None
    log.change(index, income_minor=-1)
    assert found_in(log, tmp_path).where.leaf_index == index
