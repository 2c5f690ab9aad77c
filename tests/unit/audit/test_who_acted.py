"""Who acted: each way in which one person could count as two, or nobody could act, is found in a signed log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest

from audit.findings import Finding
from audit.steps import Step
from ledger.acts.controls import Controls
from ledger.acts.entries import (
    CollectiveContent,
    ControlsContent,
    Decision,
    DecisionContent,
    KeyContent,
    KeyRevocationContent,
    PrincipalContent,
    RecoveryContent,
)
from ledger.acts.people import Actor
from ledger.entries import PaymentContent
from ledger.log.leaves import Content
from ledger.registry import NANO, PPM, Collective, CollectiveStatus
from ledger.usage.entries import UsageContent
from ledger.usage.format import AI_ONLY
from payout.entries import PauseContent, PolicyContent, RoundContent
from payout.policy import CommonsRule, Policy
from tests.support.batches import Event, event_id
from tests.support.exports import KEY, bundle_of, report_of
from tests.support.independent import verifier
from tests.support.pool_log import PoolLog
from tests.support.registry_log import OLIVE, OSCAR, RegistryLog, actor_of, founder, key_of
from tests.support.replay_history import history

REVIEW: Final = 3600
NO_DOMAINS: Final = sha256(b"").digest()
MONEY_ALONE: Final = Controls.of_two().model_copy(update={"weights": 1, "terms": 1, "money": 1})
"""Two people for rounds and people, and one for what these tests set up."""


def a_round(registry: RegistryLog | None = None, calculated_by: str = OLIVE) -> PoolLog:
    """A pool of two operators with a round that waits for its approval."""
    found = registry or RegistryLog.founded(controls=MONEY_ALONE)
    log = PoolLog(collectives=[Collective("eire", "Éire", 300)], registry=found)
    log.open(Policy(commons_rule=CommonsRule.FUND, commons_ppm=1_000_000, review_seconds=REVIEW))
    log.revenue(1_000)
    log.method(PPM)
    log.usage([Event(event_id(1), None, 0, 1, AI_ONLY, (("eire", NANO),))])
    log.calculate(calculated_by)
    return log


def approved(log: PoolLog, by: str = OSCAR, **fields: Any) -> PoolLog:
    """The round approved and posted."""
    index = log.decide(Decision.APPROVED, by)
    if fields:
        log.change(index, **fields)
    log.post()
    return log


def finding_of(log: PoolLog, tmp_path: Path) -> Finding:
    finding = report_of(bundle_of(log, tmp_path / "folk.tar")).finding
    assert finding is not None, "it held"
    assert finding.step is Step.DECISIONS, finding
    return finding


def test_two_people_may_post_a_round_and_are_named(tmp_path: Path) -> None:
    report = report_of(bundle_of(approved(a_round()), tmp_path / "folk.tar"))
    assert report.finding is None
    assert [(act.by, act.approved_by) for act in report.acts if act.type == RoundContent.type] == [(OLIVE, OSCAR)]
    assert report.warnings == ["reviews ended by the operator's clock: 1"]


# Approvers who are nobody.


@pytest.mark.parametrize(
    "by", ["", "collectives/eire", "platforms/acme", "operators/Olive ", "scheduler", "policy", "operators/mallory"]
)
def test_an_approver_who_is_no_operator_is_found(by: str, tmp_path: Path) -> None:
    log = approved(a_round(), by_key=key_of(OSCAR))
    approval = log.size() - 2
    log.change(approval, by=by)
    found = finding_of(log, tmp_path)
    assert (found.where.leaf_index, found.figure) == (approval, "by")


def test_whoever_calculated_a_round_does_not_approve_it(tmp_path: Path) -> None:
    found = finding_of(approved(a_round(), OLIVE), tmp_path)
    assert "cannot decide what it proposed or calculated itself" in found.claimed


def test_an_operator_that_the_first_made_alone_does_not_count(tmp_path: Path) -> None:
    """Whoever came by one person alone stays so, where the controls ask for two later."""
    registry = RegistryLog.founded()
    registry.operator("operators/second")
    registry.together(ControlsContent(controls=MONEY_ALONE))
    found = finding_of(approved(a_round(registry), "operators/second"), tmp_path)
    assert "by one person alone" in found.claimed


def test_an_operator_does_not_approve_what_one_that_it_made_alone_calculated(tmp_path: Path) -> None:
    registry = RegistryLog.founded()
    registry.operator("operators/second")
    registry.together(ControlsContent(controls=MONEY_ALONE))
    found = finding_of(approved(a_round(registry, "operators/second"), OLIVE), tmp_path)
    assert "cannot decide what operators/second made" in found.claimed


def issued_by_a_key_issued_alone(registry: RegistryLog) -> None:
    registry.act(KeyContent(key_id="e" * 16, principal=OSCAR, secret_hash="0" * 64))
    with_it = Actor(OSCAR, "e" * 16).stamp(
        KeyContent(key_id="f" * 16, principal=OSCAR, secret_hash="1" * 64), registry.people()
    )
    registry.append(with_it)


def issued_by_a_proposal_of_one(registry: RegistryLog) -> None:
    registry.together(KeyContent(key_id="f" * 16, principal=OSCAR, secret_hash="1" * 64), OLIVE, OLIVE)


@pytest.mark.parametrize("issue", [issued_by_a_key_issued_alone, issued_by_a_proposal_of_one])
def test_a_key_that_one_person_could_issue_does_not_count_whatever_led_to_it(
    issue: Callable[[RegistryLog], None], tmp_path: Path
) -> None:
    registry = RegistryLog.founded(OLIVE, OSCAR)
    issue(registry)
    registry.together(ControlsContent(controls=MONEY_ALONE))
    bundle = bundle_of(approved(a_round(registry), by_key="f" * 16), tmp_path / "folk.tar")
    found = report_of(bundle).finding
    assert found is not None
    assert "by one person alone" in found.claimed
    with pytest.raises(AssertionError):
        verifier.verify(bundle, str(KEY.verifier_key))


def test_a_second_key_for_the_other_operator_that_one_issued_alone_does_not_count(tmp_path: Path) -> None:
    registry = RegistryLog.founded(controls=MONEY_ALONE)
    registry.act(KeyContent(key_id="f" * 16, principal=OSCAR, secret_hash="0" * 64))
    found = finding_of(approved(a_round(registry), by_key="f" * 16), tmp_path)
    assert (found.where.log, found.figure, found.claimed) == ("registry", "proposal", "none")


def test_an_operator_who_was_registered_after_the_calculation_does_not_approve(tmp_path: Path) -> None:
    registry = RegistryLog.founded(OLIVE, OSCAR, "operators/petra", controls=MONEY_ALONE)
    log = a_round(registry)
    registry.now = log.now
    registry.operator("operators/quinn", OSCAR, "operators/petra")
    found = finding_of(approved(log, "operators/quinn"), tmp_path)
    assert "was registered after what it decides was made" in found.claimed


def test_a_revoked_key_approves_nothing(tmp_path: Path) -> None:
    log = a_round()
    log.registry.now = log.now
    log.registry.act(KeyRevocationContent(key_id=key_of(OSCAR)))
    assert "was revoked" in finding_of(approved(log), tmp_path).claimed


def test_a_key_that_ended_approves_nothing(tmp_path: Path) -> None:
    registry = RegistryLog.founded(controls=MONEY_ALONE)
    ends = "2026-01-01T00:30:00Z"
    registry.together(KeyContent(key_id="e" * 16, principal=OSCAR, secret_hash="0" * 64, expires_at=ends), OLIVE, OSCAR)
    log = approved(a_round(registry), by_key="e" * 16)
    assert "before or after its validity" in finding_of(log, tmp_path).claimed


def test_a_key_of_another_pool_approves_nothing(tmp_path: Path) -> None:
    registry = RegistryLog.founded(controls=MONEY_ALONE)
    registry.together(KeyContent(key_id="e" * 16, principal=OSCAR, secret_hash="0" * 64, pools=["jazz"]))
    assert "has no access to this log" in finding_of(approved(a_round(registry), by_key="e" * 16), tmp_path).claimed


def test_a_key_of_somebody_else_approves_nothing(tmp_path: Path) -> None:
    assert "has no key" in finding_of(approved(a_round(), by_key=key_of(OLIVE)), tmp_path).claimed


def test_a_suspended_operator_approves_nothing(tmp_path: Path) -> None:
    registry = RegistryLog.founded(OLIVE, OSCAR, "operators/petra", controls=MONEY_ALONE)
    log = a_round(registry)
    registry.now = log.now
    registry.together(PrincipalContent(principal=OSCAR, status="SUSPENDED"), OLIVE, "operators/petra")
    assert "is suspended" in finding_of(approved(log), tmp_path).claimed


@pytest.mark.parametrize("days", [6, 8])
def test_a_recovered_key_works_seven_days_later_and_decides_no_older_round(days: int, tmp_path: Path) -> None:
    log = a_round()
    log.registry.now = log.now
    log.registry.append(RecoveryContent(operator=OSCAR, key_id="d" * 16, secret_hash="0" * 64))
    log.now += timedelta(days=days)
    found = finding_of(approved(log, by_key="d" * 16), tmp_path)
    assert ("one person alone" if days > 7 else "before or after its validity") in found.claimed


# When.


def test_a_posting_within_the_review_is_found(tmp_path: Path) -> None:
    log = a_round()
    approval = log.decide(Decision.APPROVED, OSCAR)
    log.rewrite(approval, log.content(approval), late_by=-1)
    log.now = log.time_of(approval)
    posting = log.post()
    found = finding_of(log, tmp_path)
    assert (found.where.leaf_index, found.figure) == (posting, "time")
    assert "the review runs" in found.expected


def test_a_time_that_falls_is_found(tmp_path: Path) -> None:
    log = a_round()
    log.now = log.time_of(log.size() - 1) - timedelta(microseconds=1)
    log.revenue(5)
    found = finding_of(log, tmp_path)
    assert (found.where.leaf_index, found.figure) == (log.size() - 1, "time")


@pytest.mark.parametrize(("seconds", "holds"), [(0, True), (60, True), (61, False)])
def test_an_act_is_judged_by_a_registry_that_is_at_most_a_minute_old(seconds: int, holds: bool, tmp_path: Path) -> None:
    log = approved(a_round())
    log.registry.now = log.now
    log.registry.act(KeyRevocationContent(key_id=key_of(OLIVE)), OSCAR)
    log.now += timedelta(seconds=seconds)
    size = log.registry.size() - 1
    log.append(log.stamped(PauseContent(), size))
    report = report_of(bundle_of(log, tmp_path / "folk.tar"))
    assert (report.finding is None) == holds
    assert holds or finding_of(log, tmp_path).figure == "registry_size"


def test_an_act_that_a_registry_of_the_future_judges_is_found(tmp_path: Path) -> None:
    log = a_round()
    log.registry.now = log.now + timedelta(microseconds=1)
    log.registry.platform("late")
    log.append(PauseContent())
    assert finding_of(log, tmp_path).figure == "registry_size"


def test_a_registry_that_gets_smaller_is_found(tmp_path: Path) -> None:
    log = approved(a_round())
    log.append(log.stamped(PauseContent(), log.registry.size() - 1))
    assert finding_of(log, tmp_path).figure == "registry_size"


@pytest.mark.parametrize("size", [-1, 99])
def test_a_registry_size_that_cannot_be_is_found(size: int, tmp_path: Path) -> None:
    log = approved(a_round())
    log.append(log.stamped(PauseContent(), size))
    assert finding_of(log, tmp_path).figure == "registry_size"


# The chain of what is about operators.


@pytest.mark.parametrize("wrong", [-1, 1])
def test_an_act_that_names_another_last_leaf_about_operators_is_found(wrong: int, tmp_path: Path) -> None:
    registry = RegistryLog.founded()
    registry.operator("operators/petra", OLIVE, OSCAR)
    log = approved(a_round(registry))
    approval = log.size() - 2
    log.change(approval, people_leaf=log.content(approval).people_leaf + wrong)
    found = finding_of(log, tmp_path)
    assert (found.where.leaf_index, found.figure) == (approval, "people_leaf")


@pytest.mark.parametrize("kind", [KeyContent, RecoveryContent])
def test_a_leaf_about_operators_that_skips_the_one_before_it_is_found(kind: type[Content], tmp_path: Path) -> None:
    log = a_round()
    log.registry.now = log.now
    log.registry.act(KeyRevocationContent(key_id=key_of(OSCAR)))
    said: dict[str, Any] = {"key_id": "e" * 16, "secret_hash": "0" * 64}
    if kind is KeyContent:
        index = log.registry.act(KeyContent(principal=OLIVE, **said))
    else:
        index = log.registry.append(RecoveryContent(operator=OLIVE, **said))
    log.registry.rewrite(index, log.registry.content(index).model_copy(update={"people_leaf": 0}))
    found = report_of(bundle_of(log, tmp_path / "folk.tar")).finding
    assert found is not None
    assert (found.where.log, found.where.leaf_index, found.figure) == ("registry", index, "people_leaf")


def test_keys_of_collectives_and_auditors_are_not_of_the_chain(tmp_path: Path) -> None:
    log = a_round()
    log.registry.now = log.now
    before = log.registry.people().last_leaf
    log.registry.key("collectives/eire")
    log.registry.together(PrincipalContent(principal="auditors/ada", status="ACTIVE"))
    log.registry.act(KeyRevocationContent(key_id=key_of("collectives/eire")))
    assert log.registry.people().last_leaf == before
    log.registry.act(KeyRevocationContent(key_id=key_of(OSCAR)), OLIVE)
    assert log.registry.people().last_leaf == log.registry.size() - 1
    assert report_of(bundle_of(log, tmp_path / "folk.tar")).finding is None


# Proposals and their effects.


def stricter(log: PoolLog) -> None:
    """From here on everything needs two."""
    log.registry.now = log.now
    log.registry.together(ControlsContent(controls=Controls.of_two()))


def test_an_act_that_needs_two_and_was_done_by_one_is_found(tmp_path: Path) -> None:
    log = approved(a_round())
    stricter(log)
    log.policy(Policy(fee_ppm=1, review_seconds=60))
    found = finding_of(log, tmp_path)
    assert (found.figure, found.claimed, found.expected) == ("proposal", "none", "one that another operator approved")


def proposed(log: PoolLog) -> int:
    stricter(log)
    return log.propose(PolicyContent(version=2, policy=Policy(fee_ppm=1, review_seconds=60)))


def decided(log: PoolLog, subject: int, by: str = OSCAR, decision: str = "APPROVED") -> int:
    digest = log.entries[subject].hash.hex()
    return log.append(DecisionContent(subject=subject, subject_hash=digest, decision=decision, reason="", by=by))


def carried_out(log: PoolLog, subject: int, **fields: Any) -> int:
    content = PolicyContent(version=2, policy=Policy(fee_ppm=1, review_seconds=60), proposal=subject).model_copy(
        update=fields
    )
    return log.append(content)


def test_a_proposal_that_another_approved_is_carried_out(tmp_path: Path) -> None:
    log = approved(a_round())
    subject = proposed(log)
    decided(log, subject)
    carried_out(log, subject)
    report = report_of(bundle_of(log, tmp_path / "folk.tar"))
    assert report.finding is None
    assert (report.acts[-1].type, report.acts[-1].by, report.acts[-1].approved_by) == ("policy.v1", OLIVE, OSCAR)


def wait(log: PoolLog, days: int) -> datetime:
    log.now += timedelta(days=days)
    return log.now


EFFECTS: Final[dict[str, Callable[[PoolLog, int], object]]] = {
    "without its approval": carried_out,
    "of a rejected proposal": lambda log, subject: (
        decided(log, subject, decision="REJECTED"), carried_out(log, subject),
    ),
    "of another content": lambda log, subject: (
        decided(log, subject), carried_out(log, subject, policy=Policy(fee_ppm=999_999, review_seconds=60)),
    ),
    "by somebody else": lambda log, subject: (decided(log, subject), carried_out(log, subject, by=OSCAR)),
    "that its proposer approved": lambda log, subject: (
        decided(log, subject, OLIVE), carried_out(log, subject),
    ),
    "later than its approval": lambda log, subject: (
        decided(log, subject), log.revenue(1), carried_out(log, subject),
    ),
    "of no proposal": lambda log, subject: (decided(log, subject), carried_out(log, 0)),
    "twice": lambda log, subject: (
        decided(log, subject), carried_out(log, subject), carried_out(log, subject, version=3),
    ),
    "that is missing": decided,
    "after it lapsed": lambda log, subject: (
        wait(log, 31), decided(log, subject), carried_out(log, subject),
    ),
    "that somebody else withdrew": lambda log, subject: decided(log, subject, decision="WITHDRAWN"),
    "that was decided before": lambda log, subject: (
        decided(log, subject, decision="REJECTED"), decided(log, subject), carried_out(log, subject),
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", EFFECTS)
def test_an_effect_is_found(how: str, tmp_path: Path) -> None:
    log = approved(a_round())
    EFFECTS[how](log, proposed(log))
    finding_of(log, tmp_path)


def test_a_payment_of_one_person_where_money_needs_two_is_found(tmp_path: Path) -> None:
    log = history()
    stricter(log)
    log.move(PaymentContent(collective="eire", request_id="now", amount_minor=1, reference=""))
    assert finding_of(log, tmp_path).where.leaf_index == log.size() - 1


# The registry's own log.


def registry_finding(registry: RegistryLog, tmp_path: Path) -> Finding:
    finding = report_of(bundle_of(approved(a_round(registry)), tmp_path / "folk.tar")).finding
    assert finding is not None, "it held"
    assert finding.where.log == "registry"
    return finding


ALONE: Final[dict[str, Content]] = {
    "a second key for oneself": KeyContent(key_id="f" * 16, principal=OLIVE, secret_hash="0" * 64),
    "a new operator": PrincipalContent(principal="operators/second", status="ACTIVE"),
    "a key for the other": KeyContent(key_id="f" * 16, principal=OSCAR, secret_hash="0" * 64),
    "the other suspended": PrincipalContent(principal=OSCAR, status="SUSPENDED"),
    "controls relaxed": ControlsContent(controls=Controls.of_one()),
    "an auditor": PrincipalContent(principal="auditors/ada", status="ACTIVE"),
}


@pytest.mark.parametrize("what", ALONE)
def test_what_needs_two_and_was_done_alone_in_the_registry_is_found(what: str, tmp_path: Path) -> None:
    registry = RegistryLog.founded(controls=MONEY_ALONE)
    content: Any = ALONE[what]
    registry.act(content)
    assert registry_finding(registry, tmp_path).where.leaf_index == 1


@pytest.mark.parametrize(
    "content",
    [
        PrincipalContent(principal="operators/Olive ", status="ACTIVE"),
        PrincipalContent(principal="collectives/eire", status="ACTIVE"),
        PrincipalContent(principal="operators/olive", status="ACTHVE"),
        KeyContent(key_id=key_of(OSCAR), principal=OLIVE, secret_hash="0" * 64),
        KeyContent(key_id="f" * 16, principal="operators/nobody", secret_hash="0" * 64),
        KeyContent(key_id="f" * 16, principal=OLIVE, secret_hash="0" * 64, expires_at="2026-02-30T00:00:00Z"),
        KeyRevocationContent(key_id="f" * 16),
        CollectiveContent(
            collective="han", display_name="H", members=-1, equity_ppm=1, status="ACTIVE",
            domains_sha256=NO_DOMAINS.hex(),
        ),
        ControlsContent(controls=Controls.of_one().model_copy(update={"money": 2})),
        ControlsContent(controls=Controls.of_one().model_copy(update={"people": 0})),
    ],
)  # fmt: skip
def test_what_the_registry_cannot_say_is_found(content: Any, tmp_path: Path) -> None:
    registry = RegistryLog.founded()
    registry.bodies[NO_DOMAINS] = b""
    registry.act(content)
    assert registry_finding(registry, tmp_path).where.leaf_index == 1


def test_suspending_the_second_of_two_is_found_whoever_agreed(tmp_path: Path) -> None:
    registry = RegistryLog.founded(controls=MONEY_ALONE)
    registry.together(PrincipalContent(principal=OSCAR, status="SUSPENDED"))
    assert registry_finding(registry, tmp_path).where.leaf_index == 3


@pytest.mark.parametrize("founders", [[], [OLIVE], [OLIVE, OLIVE], [OLIVE, "auditors/ada"], [OLIVE, "operators/B"]])
def test_a_deployment_that_cannot_be_founded_so_is_found(founders: list[str], tmp_path: Path) -> None:
    registry = RegistryLog.founded(controls=MONEY_ALONE)
    content = registry.content(0).model_copy(update={"founders": [founder(name) for name in founders]})
    registry.rewrite(0, content)
    assert registry_finding(registry, tmp_path).where.leaf_index == 0


def test_a_domain_of_two_collectives_is_found(tmp_path: Path) -> None:
    registry = RegistryLog.founded()
    for name in ("eire", "han"):
        registry.collective(Collective(name, name, domains=("tune.example",)))
    found = registry_finding(registry, tmp_path)
    assert (found.where.leaf_index, found.figure) == (2, "domains")


# The snapshot of a round.


@pytest.mark.parametrize(
    "collectives",
    [
        [Collective("eire", "Éire", 42_000_000)],
        [Collective("eire", "Éire", 300, 2_000_000)],
        [Collective("eire", "Éire", 300, status=CollectiveStatus.SUSPENDED)],
        [Collective("eire", "Éire", 300), Collective("ghost", "G", 1)],
        [],
    ],
)
def test_a_snapshot_that_the_registry_does_not_say_is_found(collectives: list[Collective], tmp_path: Path) -> None:
    log = a_round()
    again = PoolLog(collectives=log.collectives, registry=log.registry, entries=log.entries[:2], journal=log.journal)
    again.now, again.collectives = log.now, collectives
    again.register = lambda: None  # type: ignore[method-assign] # the registry does not learn of it
    index = again.calculate()
    finding = report_of(bundle_of(again, tmp_path / "folk.tar")).finding
    assert finding is not None
    assert (finding.step, finding.where.leaf_index, finding.figure) == (Step.ROUNDS, index, "registry")


def test_a_root_of_the_registry_that_is_not_its_own_is_found(tmp_path: Path) -> None:
    log = approved(a_round())
    (index, _), *_ = log.placed(RoundContent)
    log.change(index, seal=False, registry_root="0" * 64)
    finding = report_of(bundle_of(log, tmp_path / "folk.tar")).finding
    assert finding is not None
    assert (finding.step, finding.where.leaf_index, finding.figure) == (Step.ROUNDS, index, "registry_root")


@pytest.mark.parametrize(("figure", "other"), [("currency", "USD"), ("platforms", ["acme"])])
def test_a_pool_that_the_registry_did_not_open_so_is_found(figure: str, other: object, tmp_path: Path) -> None:
    log = approved(a_round())
    opened = log.registry.content(log.content(0).opened_at)
    log.registry.rewrite(log.content(0).opened_at, opened.model_copy(update={figure: other}))
    assert finding_of(log, tmp_path).figure in (figure, "registry_root")


# What is said of who runs it.


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"controls": Controls.of_one()}, "run by one person"),
        ({"keys_made_together": True}, "keys issued together"),
    ],
)
def test_who_runs_a_deployment_is_said_where_it_should_be_known(
    fields: dict[str, Any], said: str, tmp_path: Path
) -> None:
    registry = RegistryLog.founded(controls=MONEY_ALONE)
    registry.rewrite(0, registry.content(0).model_copy(update=fields))
    report = report_of(bundle_of(approved(a_round(registry)), tmp_path / "folk.tar"))
    assert report.finding is None
    assert report.warnings[0].partition(":")[0] == said


def test_acts_of_one_person_are_counted(tmp_path: Path) -> None:
    report = report_of(bundle_of(approved(a_round()), tmp_path / "folk.tar"))
    alone = [act.type for act in report.acts if act.alone]
    assert alone == ["collective.v1", "platform.v1", "platform.v1", "poolopened.v1", "method.v1"]
    assert report.counts[Step.DECISIONS]["acts of one person"] == 5
    assert actor_of(OLIVE).name == report.acts[0].by


# Who reports.


def test_usage_of_a_platform_that_the_pool_never_admitted_is_found(tmp_path: Path) -> None:
    log = a_round()
    log.registry.platform("stranger")
    log.revenue(5, "stranger")
    found = finding_of(log, tmp_path)
    assert (found.where.leaf_index, found.figure, found.claimed) == (log.size() - 1, "platform", "stranger")


def test_what_is_reported_after_an_admission_ended_is_found(tmp_path: Path) -> None:
    log = approved(a_round())
    log.revenue(5)
    log.admit("acme", admitted=False)
    assert report_of(bundle_of(log, tmp_path / "before.tar")).finding is None
    log.id_scheme("acme")
    assert finding_of(log, tmp_path).claimed == "acme"


def test_what_is_retracted_after_an_admission_ended_is_found(tmp_path: Path) -> None:
    """Even of usage that it reported while it was admitted, and that may be paid out by now."""
    log = approved(a_round())
    (batch, _), *_ = log.placed(UsageContent)
    log.admit("acme", admitted=False)
    log.retract(batch)
    found = finding_of(log, tmp_path)
    assert (found.where.leaf_index, found.figure, found.claimed) == (log.size() - 1, "platform", "acme")


def test_a_platform_that_comes_back_reports_again(tmp_path: Path) -> None:
    log = approved(a_round())
    log.admit("acme", admitted=False)
    log.admit("acme")
    log.revenue(5)
    assert report_of(bundle_of(log, tmp_path / "folk.tar")).finding is None


@pytest.mark.parametrize(("platform", "admitted"), [("acme", True), ("unknown", False), ("unknown", True)])
def test_an_admission_that_cannot_be_is_found(platform: str, admitted: bool, tmp_path: Path) -> None:
    log = approved(a_round())
    log.admit(platform, admitted=admitted)
    assert finding_of(log, tmp_path).figure == "platform"


def test_an_admission_by_one_where_weights_need_two_is_found(tmp_path: Path) -> None:
    log = approved(a_round(RegistryLog.founded(controls=MONEY_ALONE)))
    log.registry.now = log.now
    log.registry.platform("late")
    log.registry.together(ControlsContent(controls=Controls.of_two()))
    log.admit("late")
    assert finding_of(log, tmp_path).figure == "proposal"


def test_a_policy_without_a_review_where_posting_takes_two_is_found(tmp_path: Path) -> None:
    log = approved(a_round())
    index = log.policy(Policy(review_seconds=0))
    found = finding_of(log, tmp_path)
    assert (found.where.leaf_index, found.figure) == (index, "policy.v1")
    assert "must be above 0" in found.claimed


def test_an_effect_is_what_was_proposed_as_json_spells_it(tmp_path: Path) -> None:
    """In Python `True` is 1."""
    log = approved(a_round())
    subject = proposed(log)
    said = log.content(subject)
    policy = said.content["policy"] | {"fee_ppm": True}
    log.rewrite(subject, said.model_copy(update={"content": {**said.content, "policy": policy}}))
    decided(log, subject)
    carried_out(log, subject)
    assert "what was proposed" in finding_of(log, tmp_path).expected
