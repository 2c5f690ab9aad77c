"""What one operator can do alone in a deployment founded by two: nothing that moves money, or changes who may.

Every attack comes from a client process with one operator's key. Platforms that were not admitted are in
test_admissions.py; what is tried against payees and bank files is in test_attacks_on_payments.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from typing import Any, Final, Self

import pytest
import sqlalchemy as sa
from google.protobuf.message import Message

from audit.verification.report import warnings_of
from ledger.acts.controls import Controls
from ledger.store.registry.people import read_people
from moiety import (
    AbortedError,
    Client,
    Collective,
    FailedPreconditionError,
    InvalidArgumentError,
    Method,
    NewKey,
    PermissionDeniedError,
    Platform,
    Policy,
    Pool,
    Proposal,
    Schedule,
    ServiceError,
    UnauthenticatedError,
    make_key,
)
from moiety.v1.acts_pb2 import (
    PROPOSAL_STATE_APPROVED,
    PROPOSAL_STATE_LAPSED,
    PROPOSAL_STATE_OPEN,
    PROPOSAL_STATE_REJECTED,
    PROPOSAL_STATE_WITHDRAWN,
)
from moiety.v1.registry_pb2 import COLLECTIVE_STATUS_SUSPENDED, COMMONS_RULE_FUND, DISTRIBUTE_REPORTED
from moiety.v1.registry_pb2 import Controls as ControlsMessage
from moiety.v1.rounds_pb2 import (
    OBJECTION_ANSWER_DISMISSED,
    ROUND_STATE_CALCULATED,
    ROUND_STATE_POSTED,
    ROUND_STATE_REJECTED,
)
from services.cli.app import main
from services.cli.base.exits import Exit
from services.process.host import serving
from services.settings import load_settings
from services.wiring import system_clock
from tests.support.deployment import FOUNDERS, Deployment, SteppedClock, found_for_tests
from tests.support.fsck_scene import findings
from tests.support.racing import at_once
from tests.support.scene import METHOD, NANO, POOL, event

pytestmark = pytest.mark.surface

REVIEW: Final = 3600
KEPT: Final = (
    "collective", "platform", "api_key", "policy", "method", "membership", "schedule", "movement", "transfer",
    "balance", "collective_domain", "posting", "people",
)  # fmt: skip
"""The tables of what moves money, or says who may or what holds."""


@pytest.fixture
def deployment(deploy: Callable[..., Deployment]) -> Deployment:
    """A deployment founded by olive and otto, where all but names takes two people."""
    return deploy(controls=Controls.of_two())


@pytest.fixture
def people(deployment: Deployment) -> Iterator[tuple[Client, Client]]:
    """The founders, each with the key that they brought."""
    with ExitStack() as stack:
        olive, otto = (stack.enter_context(Client(deployment.address, each.key.text)) for each in FOUNDERS)
        yield olive, otto


@pytest.fixture
def olive(people: tuple[Client, Client]) -> Client:
    """The one who attacks."""
    return people[0]


@pytest.fixture
def otto(people: tuple[Client, Client]) -> Client:
    """The other one, who is not asked."""
    return people[1]


def together(olive: Client, otto: Client, act: Callable[[Client], Any]) -> None:
    """What one proposes and the other approves."""
    otto.approve_proposal(act(olive).proposal)


@pytest.fixture
def pool(people: tuple[Client, Client], deployment: Deployment) -> Iterator[dict[str, Client]]:
    """A pool with money: 600 paid to irish, 400 held for breton, 1,000 to be distributed; and its parties' clients."""
    olive, otto = people
    keys = {"platforms/tunesmith": make_key(), "collectives/irish": make_key()}
    breton = Collective(display_name="Breton", members=10, status=COLLECTIVE_STATUS_SUSPENDED, domains=["bzh.example"])
    policy = Policy(review_seconds=REVIEW, commons_ppm=100_000, commons_rule=COMMONS_RULE_FUND)
    acts: list[Callable[[Client], Any]] = [
        lambda by: by.create_platform("tunesmith", Platform(display_name="T")),
        lambda by: by.create_collective("irish", Collective(display_name="Irish", members=4_200)),
        lambda by: by.create_collective("breton", breton),
        lambda by: by.create_pool(
            POOL,
            Pool(
                display_name="Folk",
                currency="EUR",
                policy=policy,
                platforms=["platforms/tunesmith"],
                distribute=DISTRIBUTE_REPORTED,
            ),
        ),
        lambda by: by.create_method(POOL, METHOD, Method(display_name="n-gram", confidence_ppm=1_000_000)),
    ]
    acts += [partial(_issue, name=name, key=key) for name, key in keys.items()]
    for act in acts:
        together(olive, otto, act)
    with ExitStack() as stack:
        parties = {name: stack.enter_context(Client(deployment.address, key.text)) for name, key in keys.items()}
        platform = parties["platforms/tunesmith"]
        platform.report_revenue(POOL, 1_000, "EUR", request_id="r")
        platform.submit_events(POOL, [event(1, shares={"irish": NANO // 2, "breton": NANO // 2})], METHOD, batch_id="b")
        olive.calculate_round(POOL, request_id="q")
        deployment.clock.advance(seconds=REVIEW)
        otto.approve_round(POOL, 1)
        platform.report_revenue(POOL, 1_000, "EUR", request_id="r-2")
        platform.submit_events(POOL, [event(2, shares={"irish": NANO})], METHOD, batch_id="b-2")
        yield parties


def _issue(by: Client, name: str, key: NewKey) -> Message:
    return by.create_api_key(name, key.hash)


def rows_of(owner: sa.Engine) -> dict[str, list[Any]]:
    """All rows of the tables that an attack would change."""
    with owner.connect() as connection:
        return {
            table: sorted(connection.execute(sa.text(f"SELECT {table}::text FROM {table}")).scalars()) for table in KEPT
        }


Attack = Callable[[Client], Any]


def _collective(**fields: Any) -> Attack:
    said = {"display_name": "Irish", "members": 4_200, **fields}
    return lambda by: by.update_collective("irish", Collective(**said))


def _new_operator(by: Client) -> Message:
    return by.update_principal("operators/second")


def _key_for(principal: str) -> Attack:
    return lambda by: by.create_api_key(principal, make_key().hash)


def _controls(by: Client) -> Message:
    return by.update_controls(ControlsMessage(people=1, terms=1, weights=1, money=1, rounds=1, registry=1))


def _method(by: Client) -> Message:
    return by.create_method(POOL, METHOD, Method(display_name="n-gram", confidence_ppm=1))


WAITS: Final[dict[str, Attack]] = {
    "a second key for oneself": _key_for("operators/olive"),
    "a new operator": _new_operator,
    "an auditor": lambda by: by.update_principal("auditors/mine"),
    "a key for an existing operator": _key_for("operators/otto"),
    "a platform's key, to invent usage": _key_for("platforms/tunesmith"),
    "a collective's key": _key_for("collectives/irish"),
    "members": _collective(members=42_000_000),
    "equity": _collective(equity_ppm=100_000_000),
    "suspension": _collective(status=COLLECTIVE_STATUS_SUSPENDED),
    "a suspension lifted": lambda by: by.update_collective("breton", Collective(display_name="Breton", members=10)),
    "domains moved": _collective(domains=["irish.example"]),
    "an empty collective, to share an equal commons": lambda by: by.create_collective(
        "mine", Collective(display_name="Mine")
    ),
    "a platform": lambda by: by.create_platform("mine", Platform(display_name="Mine")),
    "a platform let go": lambda by: by.expel_platform(POOL, "tunesmith"),
    "a pool": lambda by: by.create_pool(
        "mine", Pool(display_name="Mine", currency="EUR", policy=Policy(review_seconds=1))
    ),
    "a review of a second": lambda by: by.create_policy(POOL, Policy(review_seconds=1, commons_ppm=100_000)),
    "a fee": lambda by: by.create_policy(POOL, Policy(review_seconds=REVIEW, fee_ppm=1_000_000)),
    "a method's confidence": _method,
    "a membership": lambda by: by.create_membership(POOL, "items", {"song": "irish"}),
    "a schedule": lambda by: by.update_schedule(POOL, Schedule(cron="* * * * *", time_zone="UTC")),
    "controls relaxed": _controls,
    "held money returned to the commons": lambda by: by.release_held(
        POOL, "breton", 1, request_id="returned", reason="mine", to_commons=True
    ),
    "held money released": lambda by: by.release_held(POOL, "breton", 1, request_id="released", reason="mine"),
    "a grant": lambda by: by.grant_from_commons(POOL, "irish", 1, request_id="granted", reason="mine"),
    "a payment": lambda by: by.record_payment(POOL, "irish", 1, request_id="paid"),
}
"""What is logged as a proposal, and changes nothing before the other approves; or is refused at once."""


def test_one_operator_alone_changes_nothing(pool: dict[str, Client], olive: Client, owner: sa.Engine) -> None:
    assert pool
    before = rows_of(owner)
    for name, attack in WAITS.items():
        proposal = attack(olive).proposal
        assert olive.get_proposal(proposal).state == PROPOSAL_STATE_OPEN, name
        with pytest.raises(FailedPreconditionError) as caught:
            olive.approve_proposal(proposal)
        assert caught.value.reason == "PROPOSED_IT", name
        assert rows_of(owner) == before, name


def test_a_review_of_nothing_is_refused_at_once(pool: dict[str, Client], olive: Client) -> None:
    assert pool
    with pytest.raises(InvalidArgumentError, match="must be above 0 where posting a round takes two people"):
        olive.create_policy(POOL, Policy(review_seconds=0, commons_ppm=100_000))
    with pytest.raises(InvalidArgumentError, match="must be above 0"):
        olive.create_pool("mine", Pool(display_name="Mine", currency="EUR", policy=Policy()))
    assert list(olive.list_proposals(POOL, only_open=True)) == []


def test_a_platform_s_key_reports_nowhere_that_did_not_admit_it(
    pool: dict[str, Client], olive: Client, otto: Client, deployment: Deployment
) -> None:
    """Nor does one whom both let in make revenue or usage in a pool that only one would open to it."""
    assert pool
    mine = make_key()
    together(olive, otto, lambda by: by.create_platform("mine", Platform(display_name="Mine")))
    together(olive, otto, partial(_issue, name="platforms/mine", key=mine))
    proposal = olive.admit_platform(POOL, "mine").proposal
    with pytest.raises(FailedPreconditionError):
        olive.approve_proposal(proposal)
    with Client(deployment.address, mine.text) as platform:
        for report in (
            lambda: platform.submit_events(POOL, [event(9, shares={"irish": NANO})], METHOD, batch_id="x"),
            lambda: platform.report_revenue(POOL, 1, "EUR", request_id="x"),
        ):
            with pytest.raises(FailedPreconditionError) as caught:
                report()
            assert caught.value.reason == "NOT_ADMITTED"


def test_a_server_whose_clock_is_set_forward_ends_no_review(
    database_url: str, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database tells the time of what is logged, whatever the server that an operator talks to believes."""

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls.fromtimestamp((datetime.now(tz) + timedelta(days=400)).timestamp(), tz)

    monkeypatch.setattr("services.wiring.datetime", Ahead)
    assert system_clock() - datetime.now(UTC) > timedelta(days=399)
    found_for_tests(database_url, clock, Controls.of_two())
    settings = load_settings(database_url=database_url, listen="127.0.0.1:0")
    with serving(settings) as running, ExitStack() as stack:
        olive, otto = (stack.enter_context(Client(running.address, each.key.text)) for each in FOUNDERS)
        key, policy = make_key(), Policy(review_seconds=REVIEW)
        together(olive, otto, lambda by: by.create_platform("tunesmith", Platform(display_name="T")))
        together(olive, otto, lambda by: by.create_collective("irish", Collective(display_name="Irish")))
        opened = Pool(display_name="Folk", currency="EUR", policy=policy, platforms=["platforms/tunesmith"])
        opened.distribute = DISTRIBUTE_REPORTED
        together(olive, otto, lambda by: by.create_pool(POOL, opened))
        together(olive, otto, lambda by: by.create_method(POOL, METHOD, Method(display_name="n", confidence_ppm=10**6)))
        together(olive, otto, partial(_issue, name="platforms/tunesmith", key=key))
        platform = stack.enter_context(Client(running.address, key.text))
        platform.report_revenue(POOL, 1_000, "EUR", request_id="r")
        platform.submit_events(POOL, [event(1, shares={"irish": NANO})], METHOD, batch_id="b")
        olive.calculate_round(POOL, request_id="q")
        with pytest.raises(FailedPreconditionError) as caught:
            otto.approve_round(POOL, 1)
        assert caught.value.reason == "REVIEW_RUNS"


def test_a_key_that_the_database_s_owner_recovers_waits_decides_nothing_older_and_is_told_of_for_ever(
    pool: dict[str, Client],
    olive: Client,
    deployment: Deployment,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert pool
    waiting, mine, clock = olive.record_payment(POOL, "irish", 1, request_id="x").proposal, make_key(), deployment.clock
    monkeypatch.setenv("MOIETY_DATABASE_URL", database_url)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["db", "recover-key", f"operators/otto={mine.hash}", "--json"])
    assert ended.value.code == Exit.OK
    begins = datetime.fromisoformat(json.loads(capsys.readouterr().out)["begins"])
    with Client(deployment.address, mine.text) as otto:
        clock.now = begins - timedelta(seconds=1)
        with pytest.raises(UnauthenticatedError):
            otto.get_proposal(waiting)
        clock.now = begins
        # Seven days later it acts, and is still no second person's.
        raised = otto.update_collective("irish", Collective(display_name="Irish", members=7)).proposal
        later = olive.update_collective("irish", Collective(display_name="Irish", members=8)).proposal
        for proposal in (waiting, later):
            with pytest.raises(FailedPreconditionError) as caught:
                otto.approve_proposal(proposal)
            assert caught.value.reason in ("REGISTERED_ALONE", "PROPOSAL_CLOSED")
        assert olive.approve_proposal(raised).state == PROPOSAL_STATE_APPROVED
    with deployment.running.parts.database.transaction() as connection:
        people = read_people(connection)
    assert warnings_of(people) == ["keys recovered by the database's owner: 1"]
    assert people.keys[mine.hash.split(":")[0]].begins == begins
    capsys.readouterr()
    with pytest.raises(SystemExit) as again:
        main(["db", "recover-key", f"operators/otto={mine.hash}"])
    assert again.value.code == Exit.BAD_INPUT
    assert "was issued before" in capsys.readouterr().err


def test_nobody_suspends_the_other_so_that_one_is_left(olive: Client, otto: Client) -> None:
    for by in (olive, otto):
        with pytest.raises(FailedPreconditionError) as caught:
            by.update_principal("operators/otto", suspended=True)
        assert caught.value.reason == "TOO_FEW_OPERATORS"


def test_nobody_makes_themselves_a_second_person(
    pool: dict[str, Client], olive: Client, otto: Client, deployment: Deployment
) -> None:
    """Not even one whom the other let in later decides what was there before."""
    mine = make_key()
    raised = olive.update_collective("irish", Collective(display_name="Irish", members=42_000_000)).proposal
    together(olive, otto, lambda by: by.update_principal("operators/mine"))
    together(olive, otto, lambda by: by.create_api_key("operators/mine", mine.hash))
    with Client(deployment.address, mine.text) as second, pytest.raises(FailedPreconditionError) as caught:
        second.approve_proposal(raised)
    assert caught.value.reason == "REGISTERED_LATER"
    assert pool["collectives/irish"].get_collective("irish").members == 4_200


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(FailedPreconditionError) as caught:
        call()
    return caught.value.reason


def test_nobody_approves_what_somebody_of_their_own_making_proposed(
    pool: dict[str, Client], olive: Client, otto: Client, deployment: Deployment
) -> None:
    """While one person could, it added an operator, gave the other a key, and more with that; with each it is one."""
    assert pool
    mine, as_otto, by_otto, proposed = make_key(), make_key(), make_key(), make_key()
    waiting = olive.create_api_key("operators/otto", proposed.hash).proposal
    together(olive, otto, _controls)
    olive.approve_proposal(waiting)
    olive.update_principal("operators/mine")
    olive.create_api_key("operators/mine", mine.hash)
    olive.create_api_key("operators/otto", as_otto.hash)
    with Client(deployment.address, as_otto.text) as made:
        made.create_api_key("operators/otto", by_otto.hash)
    with Client(deployment.address, mine.text) as made:
        made.calculate_round(POOL, request_id="q-2")
    tightened = ControlsMessage(people=2, terms=2, weights=2, money=2, rounds=2, registry=1)
    together(olive, otto, lambda by: by.update_controls(tightened))
    deployment.clock.advance(seconds=REVIEW)
    assert refused(lambda: olive.approve_round(POOL, 2)) == "MADE_ALONE"
    olive.reject_round(POOL, 2, "nobody may approve it")
    changed = Collective(display_name="Irish", members=42_000_000)
    for key in (mine, as_otto, by_otto, proposed):
        with Client(deployment.address, key.text) as made:
            assert refused(partial(made.update_collective, "irish", changed)) == "REGISTERED_ALONE"
            assert refused(partial(made.calculate_round, POOL, request_id="q-3")) == "REGISTERED_ALONE"
            waits = olive.update_collective("irish", changed).proposal
            assert refused(partial(made.approve_proposal, waits)) == "REGISTERED_ALONE"
    assert [each.state for each in olive.list_rounds(POOL)] == [ROUND_STATE_POSTED, ROUND_STATE_REJECTED]
    assert otto.get_collective("irish").members == 4_200


def test_who_calculated_neither_approves_nor_answers_nor_hurries(
    pool: dict[str, Client], olive: Client, otto: Client, clock: SteppedClock
) -> None:
    olive.calculate_round(POOL, request_id="q-2")
    pool["collectives/irish"].object_to_round(POOL, 2, "mine is missing")
    for by in (olive, otto):
        with pytest.raises(FailedPreconditionError) as caught:
            by.approve_round(POOL, 2)
        assert caught.value.reason == "REVIEW_RUNS"
    with pytest.raises(FailedPreconditionError) as caught:
        olive.answer_objection(POOL, 2, "irish", OBJECTION_ANSWER_DISMISSED, "no")
    assert caught.value.reason == "PROPOSED_IT"
    clock.advance(seconds=REVIEW)
    with pytest.raises(FailedPreconditionError) as caught:
        otto.approve_round(POOL, 2)
    assert caught.value.reason == "OBJECTION_OPEN"
    otto.answer_objection(POOL, 2, "irish", OBJECTION_ANSWER_DISMISSED, "no")
    with pytest.raises(FailedPreconditionError) as caught:
        olive.approve_round(POOL, 2)
    assert caught.value.reason == "PROPOSED_IT"
    assert olive.get_round(POOL, 2).state == ROUND_STATE_CALCULATED


def test_an_operator_s_key_is_no_platform_s_and_no_collective_s(pool: dict[str, Client], olive: Client) -> None:
    """Usage, revenue and objections are said by those whom they are of."""
    assert pool
    calls: tuple[Callable[[], object], ...] = (
        lambda: olive.submit_events(POOL, [event(9)], METHOD, batch_id="x"),
        lambda: olive.report_revenue(POOL, 1, "EUR", request_id="x"),
        lambda: olive.object_to_round(POOL, 1, "x"),
    )
    for call in calls:
        with pytest.raises(PermissionDeniedError):
            call()


def test_what_a_proposal_rests_on_cannot_change_under_the_approver(
    pool: dict[str, Client], olive: Client, otto: Client
) -> None:
    """Approving what was swapped meanwhile is refused, and carries nothing out."""
    assert pool
    first = olive.update_collective("irish", Collective(display_name="Irish", members=4_300)).proposal
    together(olive, otto, lambda by: by.update_collective("irish", Collective(display_name="Irish", members=4_400)))
    with pytest.raises(AbortedError):
        otto.approve_proposal(first)
    assert olive.get_collective("irish").members == 4_400
    assert olive.get_proposal(first).state == PROPOSAL_STATE_OPEN


def test_a_revoked_key_decides_nothing_and_one_person_may_revoke_it(
    pool: dict[str, Client], olive: Client, otto: Client
) -> None:
    """Whose machine was stolen is locked out by anyone who is left, at once."""
    assert pool
    otto.revoke_api_key(FOUNDERS[0].key.key_id)
    with pytest.raises(UnauthenticatedError):
        olive.record_payment(POOL, "irish", 1, request_id="x")


def test_a_proposal_that_waited_for_a_month_has_lapsed(
    pool: dict[str, Client], olive: Client, otto: Client, clock: SteppedClock
) -> None:
    assert pool
    proposal = olive.record_payment(POOL, "irish", 1, request_id="x").proposal
    clock.advance(seconds=timedelta(days=30, seconds=1).total_seconds())
    with pytest.raises(ServiceError):
        otto.approve_proposal(proposal)
    assert olive.get_proposal(proposal).state == PROPOSAL_STATE_LAPSED
    assert list(olive.list_proposals(POOL, only_open=True)) == []
    again = olive.record_payment(POOL, "irish", 1, request_id="x").proposal
    assert again != proposal
    otto.approve_proposal(again)


def test_a_clock_that_is_set_back_opens_no_proposal_that_has_lapsed(
    pool: dict[str, Client], olive: Client, otto: Client, clock: SteppedClock
) -> None:
    """Times of leaves do not fall, and a verification goes by them."""
    assert pool
    lapsed = olive.record_payment(POOL, "irish", 1, request_id="x").proposal
    clock.advance(days=30, seconds=10)
    assert olive.record_payment(POOL, "irish", 2, request_id="y").proposal
    clock.advance(minutes=-1)
    with pytest.raises(FailedPreconditionError) as caught:
        otto.approve_proposal(lapsed)
    assert caught.value.reason == "PROPOSAL_CLOSED"
    assert olive.record_payment(POOL, "irish", 1, request_id="x").proposal != lapsed


def test_the_other_rejects_and_whoever_proposed_withdraws(pool: dict[str, Client], olive: Client, otto: Client) -> None:
    assert pool
    names = [olive.record_payment(POOL, "irish", amount, request_id=f"x-{amount}").proposal for amount in (1, 2)]
    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: olive.reject_proposal(names[0], "no"), "PROPOSED_IT"),
        (lambda: otto.withdraw_proposal(names[0], "no"), "NOT_THE_PROPOSER"),
    ]
    for call, reason in refused:
        with pytest.raises(FailedPreconditionError) as caught:
            call()
        assert caught.value.reason == reason
    assert otto.reject_proposal(names[0], "we paid it in May").state == PROPOSAL_STATE_REJECTED
    assert olive.withdraw_proposal(names[1], "twice").state == PROPOSAL_STATE_WITHDRAWN
    assert [olive.get_proposal(name).decision_reason for name in names] == ["we paid it in May", "twice"]
    for name in names:
        with pytest.raises(FailedPreconditionError) as caught:
            otto.approve_proposal(name)
        assert caught.value.reason == "PROPOSAL_CLOSED"
    assert olive.get_balance(POOL, "paid/irish").amount_minor == 0


def test_whatever_is_decided_at_once_is_decided_once(
    pool: dict[str, Client], olive: Client, otto: Client, deploy: Callable[..., Deployment], owner: sa.Engine
) -> None:
    """Through two servers: an approval beside itself, beside a withdrawal, and beside a rejection."""
    assert pool
    other = deploy(controls=Controls.of_two())
    with Client(other.address, FOUNDERS[1].key.text) as elsewhere, Client(other.address, FOUNDERS[0].key.text) as mine:
        rivals: list[Callable[[str], Callable[[], Any]]] = [
            lambda name: lambda: elsewhere.approve_proposal(name),
            lambda name: lambda: mine.withdraw_proposal(name, "no"),
            lambda name: lambda: elsewhere.reject_proposal(name, "no"),
        ]
        paid = 0
        for number, rival in enumerate(rivals * 3):
            name = olive.record_payment(POOL, "irish", 1, request_id=f"x-{number}").proposal
            answers = at_once(partial(otto.approve_proposal, name), rival(name))
            assert any(isinstance(each, Proposal) for each in answers)
            paid += olive.get_proposal(name).state == PROPOSAL_STATE_APPROVED
            assert olive.get_balance(POOL, "paid/irish").amount_minor == paid
    assert paid >= 3
    with owner.connect() as connection:
        assert findings(connection) == []


def test_relaxing_the_controls_needs_what_the_stricter_ask_for(olive: Client, otto: Client) -> None:
    """One person relaxes nothing, neither of a kind nor of all; and tightens nothing that two agreed on either."""
    relaxed = ControlsMessage(people=2, terms=2, weights=2, money=1, rounds=2, registry=1)
    for wanted in (relaxed, ControlsMessage(people=1, terms=1, weights=1, money=1, rounds=1, registry=1)):
        proposal = olive.update_controls(wanted).proposal
        assert proposal
        assert olive.get_controls().money == 2
        olive.withdraw_proposal(proposal, "so that the next is not stale")
    with pytest.raises(InvalidArgumentError, match="at most 1"):
        olive.update_controls(ControlsMessage(people=1, terms=1, weights=1, money=2, rounds=1, registry=1))
    together(
        olive,
        otto,
        lambda by: by.update_controls(ControlsMessage(people=1, terms=1, weights=1, money=1, rounds=1, registry=1)),
    )
    # From one to two, the stricter is what is asked for: one person cannot lock the other out by it.
    tightened = olive.update_controls(ControlsMessage(people=2, terms=2, weights=2, money=2, rounds=2, registry=1))
    assert tightened.proposal
    otto.approve_proposal(tightened.proposal)
    assert olive.get_controls().money == 2


def test_pausing_takes_one_person_and_going_on_takes_two(pool: dict[str, Client], olive: Client, otto: Client) -> None:
    assert pool
    monthly = partial(Schedule, cron="0 0 1 * *", time_zone="UTC")
    together(olive, otto, lambda by: by.update_schedule(POOL, monthly()))
    assert not olive.update_schedule(POOL, monthly(paused=True)).proposal
    assert olive.get_schedule(POOL).paused
    assert olive.update_schedule(POOL, monthly()).proposal
    assert olive.get_schedule(POOL).paused
