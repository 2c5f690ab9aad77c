"""A bundle of the registry's log alone: who acted, checked without any pool."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest

from audit.steps import Step
from audit.verification.bundle import Older
from audit.verification.report import Outcome, Report
from ledger.acts.controls import Controls
from ledger.acts.entries import (
    BankAccountContent,
    BankFileContent,
    CollectiveContent,
    ControlsContent,
    DecisionContent,
    KeyContent,
    KeyRevocationContent,
    PayeeContent,
    PayRunContent,
    PlatformContent,
    PrincipalContent,
    WebhookContent,
    WitnessesContent,
)
from ledger.log.leaves import Content
from ledger.registry import PPM, Collective
from payout.policy import Policy
from services.exports.tiles.bundles import write_bundle
from services.exports.tiles.folders import export_folder
from tests.support.exports import KEY, REGISTRY_ORIGIN, RegistrySource, report_of
from tests.support.registry_log import OLIVE, OSCAR, RegistryLog, actor_of, key_of

OWN_KEY: Final = KEY.named(REGISTRY_ORIGIN).verifier_key


def registry() -> RegistryLog:
    """Two founders, whose acts need both, and what they did."""
    log = RegistryLog.founded(controls=Controls.of_two().model_copy(update={"weights": 1, "terms": 1}))
    log.collective(Collective("eire", "Éire", 300, domains=("eire.example",)))
    log.platforms(["acme"])
    log.open_pool("folk", Policy(review_seconds=60), platforms=["acme"])
    log.together(PrincipalContent(principal="auditors/ada", status="ACTIVE"))
    log.together(KeyContent(key_id="a" * 16, principal="auditors/ada", secret_hash="0" * 64))
    log.act(KeyRevocationContent(key_id="a" * 16))
    return log


def bundled(log: RegistryLog, tmp_path: Path, **asked: Any) -> Report:
    write_bundle(RegistrySource(log), tmp_path / "registry.tar")
    return report_of(tmp_path / "registry.tar", OWN_KEY, **asked)


def finding_of(log: RegistryLog, tmp_path: Path) -> tuple[int, str]:
    found = bundled(log, tmp_path).finding
    assert found is not None, "it held"
    assert found.step is Step.DECISIONS, found
    return found.where.leaf_index, found.figure


def test_a_sound_registry_holds_and_says_who_acted(tmp_path: Path) -> None:
    log = registry()
    report = bundled(log, tmp_path)
    assert report.finding is None
    assert [(act.type, act.by, act.approved_by) for act in report.acts if not act.alone] == [
        ("principal.v1", OLIVE, OSCAR), ("key.v1", OLIVE, OSCAR),
    ]  # fmt: skip
    assert report.counts[Step.FORMS] == {"registry entries": log.size(), "entries": 0}
    held = {step for step in Step if report.outcome(step) is Outcome.HELD}
    assert held == {Step.FILES, Step.SIGNATURES, Step.ENTRIES, Step.FORMS, Step.BODIES, Step.DECISIONS}


def test_its_folder_holds_too_and_extends_what_was_kept(tmp_path: Path) -> None:
    log = registry()
    kept = Older("kept", RegistrySource(log).checkpoint())
    log.act(KeyRevocationContent(key_id=key_of(OSCAR)))
    export_folder(RegistrySource(log), tmp_path / "folder")
    report = bundled(log, tmp_path, since=(kept,))
    assert report.finding is None
    assert report.outcome(Step.CONSISTENCY) is Outcome.HELD
    other = RegistryLog.founded()
    found = bundled(log, tmp_path, since=(Older("other", RegistrySource(other).checkpoint()),)).finding
    assert found is not None
    assert found.step is Step.CONSISTENCY


def test_who_may_not_is_found(tmp_path: Path) -> None:
    log = registry()
    index = log.act(PrincipalContent(principal="operators/mallory", status="ACTIVE"))
    assert finding_of(log, tmp_path) == (index, "proposal")


HOOK: Final = WebhookContent(
    webhook="hook", owner="collectives/eire", log="pools/folk", origin="https://a.example", types=[], start=0,
    state="ACTIVE", details_hash="0" * 64,
)  # fmt: skip


def form_of(log: RegistryLog, tmp_path: Path) -> tuple[int, str]:
    """Where what no service would log is found, and of which figure."""
    found = bundled(log, tmp_path).finding
    assert found is not None, "it held"
    assert found.step is Step.FORMS, found
    return found.where.leaf_index, found.figure


BAD_HOOKS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "of nobody": ({"owner": "collectives/nobody"}, "owner"),
    "of no log": ({"log": "pools/nowhere"}, "log"),
    "of a log that its owner does not see": ({"log": "registry"}, "log"),
    "that begins paused": ({"state": "PAUSED"}, "state"),
    "in no state": ({"state": "LOST"}, "state"),
    "with types twice": ({"types": ["round.v1", "round.v1"]}, "types"),
}


@pytest.mark.parametrize("what", BAD_HOOKS)
def test_a_webhook_that_the_service_would_not_log_is_found(what: str, tmp_path: Path) -> None:
    log = registry()
    wrong, figure = BAD_HOOKS[what]
    index = log.act(HOOK.model_copy(update=wrong))
    assert form_of(log, tmp_path) == (index, figure)


@pytest.mark.parametrize(
    ("before", "after"),
    [({}, {"owner": "operators/olive"}), ({}, {"origin": "https://b.example"}), ({"state": "REMOVED"}, {})],
)
def test_a_webhook_changes_its_state_and_its_secret_alone(
    before: dict[str, Any], after: dict[str, Any], tmp_path: Path
) -> None:
    log = registry()
    log.act(HOOK)
    log.act(HOOK.model_copy(update={"details_hash": "1" * 64, **before}))
    index = log.act(HOOK.model_copy(update=after))
    assert form_of(log, tmp_path) == (index, "webhook")


ALONE: Final[dict[str, Content]] = {
    "members": CollectiveContent(
        collective="eire", display_name="E", members=42_000_000, equity_ppm=PPM, status="ACTIVE",
        domains_sha256=sha256(b"").hexdigest(),
    ),
    "a platform": PlatformContent(platform="mine", display_name="Mine"),
    "a payee": PayeeContent(collective="eire", details_hash="0" * 64),
    "a bank account": BankAccountContent(
        bank_account="mine", display_name="M", currency="EUR", pools=["folk"], opening_minor=0, details_hash="0" * 64
    ),
    "a pay run": PayRunContent(
        pay_run="mine", bank_account="main", currency="EUR", day="2026-01-01", payments=0, amount_minor=0,
        plan_sha256=sha256(b"").hexdigest(),
    ),
    "a bank's file": BankFileContent(
        bank_account="main", message="camt.053", message_id="x", file_hash="0" * 64, day="2026-01-01",
        opening_minor=0, closing_minor=0, bookings_sha256=sha256(b"").hexdigest(),
    ),
    "witnesses": WitnessesContent(policy=""),
}  # fmt: skip


@pytest.mark.parametrize("what", ALONE)
def test_what_decides_money_and_was_done_alone_is_found(what: str, tmp_path: Path) -> None:
    log = registry()
    log.together(ControlsContent(controls=Controls.of_two()))
    log.bodies[sha256(b"").digest()] = b""
    content: Any = ALONE[what]
    index = log.act(content)
    assert finding_of(log, tmp_path) == (index, "proposal")


def test_an_approver_who_proposed_is_found(tmp_path: Path) -> None:
    log = registry()
    index = log.together(ControlsContent(controls=Controls.of_one()), second=OLIVE)
    assert finding_of(log, tmp_path)[0] in (index, index - 1)


def test_a_pool_without_a_review_where_posting_takes_two_is_found(tmp_path: Path) -> None:
    log = registry()
    log.open_pool("jazz", Policy())
    assert finding_of(log, tmp_path) == (log.size() - 1, "poolopened.v1")


def test_a_hash_of_another_decision_is_found(tmp_path: Path) -> None:
    log = registry()
    proposed = log.propose(PrincipalContent(principal="operators/third", status="ACTIVE"))
    decided = DecisionContent(subject=proposed, subject_hash="0" * 64, decision="REJECTED", reason="no")
    index = log.append(actor_of(OSCAR).stamp(decided, log.people()))
    assert finding_of(log, tmp_path) == (index, "subject_hash")


@pytest.mark.parametrize("path", ["tile/entries/000", "journal.csv", "balances.csv"])
def test_a_changed_file_is_found(path: str, tmp_path: Path) -> None:
    log = registry()
    write_bundle(RegistrySource(log), tmp_path / "registry.tar")
    data = bytearray((tmp_path / "registry.tar").read_bytes())
    at = data.index(path.encode())
    data[at + 512 + 5] ^= 1
    (tmp_path / "registry.tar").write_bytes(data)
    assert report_of(tmp_path / "registry.tar", OWN_KEY).finding is not None


ACCOUNT: Final[dict[str, Any]] = {"key_kind": "IDENTITY", "issuer": "https://accounts.example"}


def test_an_account_may_be_anothers_once_its_key_is_revoked(tmp_path: Path) -> None:
    log = registry()
    log.together(KeyContent(key_id="b" * 16, principal=OLIVE, secret_hash="b" * 64, **ACCOUNT))
    log.act(KeyRevocationContent(key_id="b" * 16))
    log.together(KeyContent(key_id="c" * 16, principal=OSCAR, secret_hash="b" * 64, **ACCOUNT))
    assert bundled(log, tmp_path).finding is None


@pytest.mark.parametrize(
    ("said", "figure"),
    [
        ({"secret_hash": "b" * 64, **ACCOUNT}, "secret_hash"),
        ({"secret_hash": "c" * 64, "key_kind": "IDENTITY"}, "issuer"),
        ({"secret_hash": "c" * 64, "issuer": "https://accounts.example"}, "issuer"),
        ({"secret_hash": "c" * 64, "key_kind": "PASSWORD"}, "key_kind"),
    ],
)
def test_a_key_that_lets_one_person_be_two_is_found(tmp_path: Path, said: dict[str, Any], figure: str) -> None:
    log = registry()
    log.together(KeyContent(key_id="b" * 16, principal=OLIVE, secret_hash="b" * 64, **ACCOUNT))
    log.together(KeyContent(key_id="c" * 16, principal=OSCAR, **said))
    found = bundled(log, tmp_path).finding
    assert found is not None, "it held"
    assert (found.where.leaf_index, found.figure) == (log.size() - 1, figure)
