"""Who approved, in statement files: each way in which nobody who counts did is refused by both verifiers."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import pytest

from audit.statements.acts import POOL_KINDS, REGISTRY_KINDS
from audit.statements.check import Check, check_statement
from audit.statements.file import LogPart, StatementFile
from ledger.acts.controls import Controls
from ledger.acts.entries import (
    ControlsContent,
    Decision,
    KeyContent,
    KeyRevocationContent,
    PrincipalContent,
    RecoveryContent,
)
from ledger.acts.people import Actor
from ledger.registry import NANO, PPM, Collective
from payout.entries import PolicyContent
from payout.policy import Policy
from tests.support.batches import Event, event_id
from tests.support.exports import KEY
from tests.support.pool_log import PoolLog
from tests.support.registry_log import OLIVE, OSCAR, RegistryLog, key_of
from tests.support.statement_files import MODULE, NODE, checked_by_node, guarded_log, statement_file
from tests.support.statement_mutations import verdicts

MONEY_ALONE: Final = Controls.of_two().model_copy(update={"weights": 1, "terms": 1, "money": 1})
"""Two people for rounds and people, and one for what these tests set up."""
PETRA: Final = "operators/petra"


def a_round(
    *more: str,
    controls: Controls = MONEY_ALONE,
    before: Callable[[RegistryLog], object] = lambda _: None,
    calculated_by: str = OLIVE,
) -> PoolLog:
    """A round that olive calculated, with the registry up to its time; `before` comes before the pool."""
    registry = RegistryLog.founded(OLIVE, OSCAR, *more, controls=controls)
    before(registry)
    log = PoolLog(collectives=[Collective("eire", "Éire", 300)], registry=registry)
    log.open(Policy(review_seconds=3600))
    log.revenue(1_000)
    log.method(PPM)
    log.usage([Event(event_id(1), shares=(("eire", NANO),))])
    log.calculate(calculated_by)
    registry.now = log.now
    return log


def approved(log: PoolLog, by: str = OSCAR, **fields: Any) -> PoolLog:
    index = log.decide(Decision.APPROVED, by)
    if fields:
        log.change(index, **fields)
    log.post()
    return log


def revoked() -> PoolLog:
    log = a_round()
    log.registry.act(KeyRevocationContent(key_id=key_of(OSCAR)))
    return approved(log)


def revoked_and_left_away() -> PoolLog:
    """The operator's approval claims that the registry said nothing of operators since the founding."""
    log = revoked()
    log.change(log.size() - 2, people_leaf=0)
    return log


def registered_alone() -> PoolLog:
    log = a_round(controls=Controls.of_one(), before=lambda registry: registry.operator("operators/second"))
    log.registry.together(ControlsContent(controls=MONEY_ALONE))
    return approved(log, "operators/second")


def with_a_key_of_a_key_issued_alone() -> PoolLog:
    """While one person could, olive issued a key for oscar, and with it another one."""

    def issue(registry: RegistryLog) -> None:
        registry.act(KeyContent(key_id="e" * 16, principal=OSCAR, secret_hash="0" * 64))
        second = KeyContent(key_id="f" * 16, principal=OSCAR, secret_hash="1" * 64)
        registry.append(Actor(OSCAR, "e" * 16).stamp(second, registry.people()))

    log = a_round(controls=Controls.of_one(), before=issue)
    log.registry.together(ControlsContent(controls=MONEY_ALONE))
    return approved(log, by_key="f" * 16)


def with_a_key_that_was_proposed_and_approved_by_one() -> PoolLog:
    key = KeyContent(key_id="f" * 16, principal=OSCAR, secret_hash="1" * 64)
    log = a_round(controls=Controls.of_one(), before=lambda registry: registry.together(key, OLIVE, OLIVE))
    log.registry.together(ControlsContent(controls=MONEY_ALONE))
    return approved(log, by_key="f" * 16)


def calculated_alone() -> PoolLog:
    """Olive approves what an operator calculated whom she made alone, while one person could."""
    second = "operators/second"
    log = a_round(controls=Controls.of_one(), before=lambda registry: registry.operator(second), calculated_by=second)
    log.registry.together(ControlsContent(controls=MONEY_ALONE))
    return approved(log, OLIVE)


def registered_late() -> PoolLog:
    log = a_round(PETRA)
    log.registry.operator("operators/quinn", OSCAR, PETRA)
    return approved(log, "operators/quinn")


def registered_by_no_approval() -> PoolLog:
    """A leaf that names a proposal which nobody approved."""

    def register(registry: RegistryLog) -> None:
        for content in (
            PrincipalContent(principal="operators/second", status="ACTIVE"),
            KeyContent(key_id=key_of("operators/second"), principal="operators/second", secret_hash="0" * 64),
        ):
            index = registry.act(content)
            said = {"proposal": 0, "registry_size": index - 1}
            registry.rewrite(index, registry.content(index).model_copy(update=said))

    return approved(a_round(before=register), "operators/second")


def suspended() -> PoolLog:
    log = a_round(PETRA)
    log.registry.together(PrincipalContent(principal=OSCAR, status="SUSPENDED"), OLIVE, PETRA)
    return approved(log)


def expired() -> PoolLog:
    log = a_round()
    ends = (log.now + timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    log.registry.together(KeyContent(key_id="e" * 16, principal=OSCAR, secret_hash="0" * 64, expires_at=ends))
    return approved(log, by_key="e" * 16)


def of_another_pool() -> PoolLog:
    log = a_round()
    log.registry.together(KeyContent(key_id="e" * 16, principal=OSCAR, secret_hash="0" * 64, pools=["jazz"]))
    return approved(log, by_key="e" * 16)


def recovered(days: int) -> PoolLog:
    log = a_round()
    log.registry.append(RecoveryContent(operator=OSCAR, key_id="d" * 16, secret_hash="0" * 64))
    log.now += timedelta(days=days)
    return approved(log, by_key="d" * 16)


def too_early() -> PoolLog:
    log = a_round()
    approval = log.decide(Decision.APPROVED, OSCAR)
    log.rewrite(approval, log.content(approval), late_by=-1)
    log.now = log.time_of(approval)
    log.post()
    return log


def terms_of_one() -> PoolLog:
    """The controls ask for two people about terms, and one made the policy of the round."""
    log = a_round()
    log.registry.together(ControlsContent(controls=MONEY_ALONE.model_copy(update={"terms": 2})))
    log.append(PolicyContent(version=2, policy=Policy(review_seconds=3600, fee_ppm=1)))
    log.decide(Decision.REJECTED, OSCAR)
    log.usage([Event(event_id(2), shares=(("eire", NANO),))])
    log.calculate()
    return approved(log)


FORGED: Final[dict[str, tuple[Callable[[], PoolLog], str]]] = {
    "by whoever calculated it": (lambda: approved(a_round(), OLIVE), "calculated itself"),
    "by nobody": (lambda: approved(a_round(), "operators/mallory"), "not a registered operator"),
    "by the collective": (lambda: approved(a_round(), "collectives/eire"), "not a registered operator"),
    "by the policy": (lambda: approved(a_round(), "policy"), "the controls ask for two people"),
    "with the key of another": (lambda: approved(a_round(), by_key=key_of(OLIVE)), "has no key"),
    "with a key that was revoked": (revoked, "was revoked"),
    "with a key whose revocation is left away": (revoked_and_left_away, "people_leaf"),
    "with a key that ended": (expired, "before or after its validity"),
    "with a key of another pool": (of_another_pool, "no access to this log"),
    "with a key that was recovered yesterday": (lambda: recovered(1), "before or after its validity"),
    "with a key that was recovered later": (lambda: recovered(8), "by one person alone"),
    "by an operator that one person made": (registered_alone, "by one person alone"),
    "with a key of a key that one person issued": (with_a_key_of_a_key_issued_alone, "by one person alone"),
    "with a key that one person approved": (with_a_key_that_was_proposed_and_approved_by_one, "by one person alone"),
    "of what an operator calculated that one person made": (calculated_alone, "by one person alone"),
    "by an operator that came later": (registered_late, "was registered after"),
    "by an operator that nobody approved": (registered_by_no_approval, "one that the leaf before it approved"),
    "by who is suspended": (suspended, "is suspended"),
    "before the review was over": (too_early, "before its review is over"),
}


def file_of(log: PoolLog, number: int = 1) -> bytes:
    return statement_file(log, number, "eire").to_bytes()


@pytest.mark.parametrize("name", FORGED)
def test_an_approval_by_nobody_who_counts_is_refused(name: str) -> None:
    make, reason = FORGED[name]
    file = file_of(make())
    report = check_statement(file, KEY.verifier_key)
    assert report.failed in (Check.APPROVAL, Check.TERMS), name
    assert reason in report.reason, report.reason
    if NODE is not None:
        (said,) = checked_by_node([file], str(KEY.verifier_key))
        assert said["failed"] == report.failed, said["reason"]


def test_two_people_are_named_and_one_person_alone_is_told() -> None:
    together, alone = approved(a_round()), approved(a_round(controls=Controls.of_one()), OLIVE)
    facts = [check_statement(file_of(log), KEY.verifier_key).facts for log in (together, alone)]
    assert [(each["decided_by"], each["decided_alone"]) for each in facts] == [(OSCAR, False), (OLIVE, True)]


def test_terms_that_one_person_made_where_two_are_needed_are_refused() -> None:
    log = terms_of_one()
    numbers = [1, 2]
    reports = [check_statement(file_of(log, number), KEY.verifier_key) for number in numbers]
    assert [report.failed for report in reports] == [None, None]  # both rounds began under the first policy
    log.method(1)
    log.revenue(5)
    log.usage([Event(event_id(3), shares=(("eire", NANO),))])
    log.calculate()
    report = check_statement(file_of(log, 3), KEY.verifier_key)
    assert (report.failed, "one that another operator approved" in report.reason) == (Check.APPROVAL, True)


def without(file: StatementFile, log: str, at: int) -> bytes:
    part: LogPart = getattr(file, log)
    less = LogPart(part.checkpoint, part.entries[:at] + part.entries[at + 1 :])
    pool, registry = (less, file.registry) if log == "pool" else (file.pool, less)
    return StatementFile(file.dossier, file.salt, file.path, pool, registry).to_bytes()


def test_nothing_of_what_the_registry_says_can_be_left_away() -> None:
    """Of the pool's entries the answer, the posting, a payment or the split can: the file then does not show them."""
    file = statement_file(guarded_log(), 1, "eire")
    optional = ("objection.v1", "answer.v1", "posting.v1", "split.v1", "payment.v1")
    kinds = {
        log: [json.loads(proved.entry)["type"] for proved in part.entries]
        for log, part in (("pool", file.pool), ("registry", file.registry))
    }
    cut = [(log, at, kind) for log, found in kinds.items() for at, kind in enumerate(found)]
    files = [without(file, log, at) for log, at, _ in cut]
    held = [
        kind for (log, _, kind), each in zip(cut, files, strict=True) if check_statement(each, KEY.verifier_key).holds
    ]
    assert set(held) <= {*optional}
    assert {kind for _, _, kind in cut} >= {"keyrevocation.v1", "controls.v1", "principal.v1", "proposal.v1"}
    if NODE is not None:
        said = checked_by_node(files, str(KEY.verifier_key))
        assert [kind for (_, _, kind), each in zip(cut, said, strict=True) if each["holds"]] == held


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_both_verifiers_agree_on_random_mutations() -> None:
    found = list(verdicts(3, 400))
    assert [told[:4] for told in found if not told[1]] == []
    assert {how for how, *_ in found} >= {"bytes", "field", "drop", "more", "repeat", "leave out", "swap", "dossier"}
    assert any(ours.startswith("None") for _, _, ours, _, _ in found)


def test_the_module_knows_the_same_fields_of_each_kind() -> None:
    """A field that is added to an entry must be added to `verify.mjs`, or it refuses every file with one."""
    module = MODULE.read_text().replace("'\n    + '", "").replace("`\n    + '", "").replace("', '\n    + '", "")
    for kind, content in {**POOL_KINDS, **REGISTRY_KINDS}.items():
        for name in content.model_fields:
            assert f"{name} " in module or f"{name}? " in module, f"{kind} {name}"
    for name in Policy.model_fields:
        assert f"{name} " in module or f"{name}? " in module, f"policy {name}"
