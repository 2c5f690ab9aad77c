"""Proposals and what is registered, from the command line of a deployment founded by two."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from ledger.acts.controls import Controls
from moiety import Client, Mode, UsageEvent, make_key
from services.cli.app import main
from services.cli.base.exits import Exit
from tests.support.deployment import FOUNDERS, Deployment
from tests.support.scene import NANO, NOON
from tests.support.scores import score_record_batch
from tests.support.scores import scored as scored_event

pytestmark = pytest.mark.surface

DECLARED: Final = """
platforms:
  tunesmith: {display_name: Tunesmith}
collectives:
  irish: {display_name: Irish, members: 4200}
pools:
  folk:
    display_name: Folk
    currency: EUR
    distribute: REPORTED
    policy: {review_seconds: 60}
    methods:
      ngram: {display_name: n-gram, confidence_ppm: 900000}
"""


PAID: Final = """
platforms:
  tunesmith: {display_name: Tunesmith}
collectives:
  irish: {display_name: Irish, members: 4200, equity_ppm: 1000000}
  breton: {display_name: Breton, members: 800}
pools:
  folk:
    display_name: Folk
    currency: EUR
    distribute: REPORTED
    policy: {review_seconds: 60, commons_ppm: 200000, commons_rule: EQUITY, rounding: PLACED, fee_ppm: 0}
    platforms: [tunesmith]
    methods:
      ngram: {display_name: n-gram, confidence_ppm: 900000}
"""


@pytest.fixture
def deployment(deploy: Callable[..., Deployment]) -> Deployment:
    return deploy(controls=Controls.of_two())


Run = Callable[..., Any]


@pytest.fixture
def run(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command as a founder, the first by default, and gives its JSON, or with `text` what people read."""

    def run(*arguments: str, by: int = 0, text: bool = False, code: Exit = Exit.OK) -> Any:
        more = ["--address", deployment.address, "--api-key", FOUNDERS[by].key.text, *([] if text else ["--json"])]
        with pytest.raises(SystemExit) as caught:
            main([*arguments, *more])
        out = capsys.readouterr()
        assert caught.value.code == code, out.err
        lines = [line for line in out.out.splitlines() if not re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[", line)]
        return "\n".join(lines) if text else json.loads("\n".join(lines) or "null")

    return run


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "pool.yaml"
    path.write_text(DECLARED)
    return str(path)


def states(applied: Any) -> dict[str, str]:
    return {each["resource"]: each["state"] for each in applied["changes"]}


def test_apply_says_what_waits_and_repeating_it_neither_repeats_nor_hides_a_proposal(run: Run, file: str) -> None:
    first = run("apply", file)
    assert states(first) == {
        "platforms/tunesmith": "PROPOSED", "collectives/irish": "PROPOSED", "pools/folk": "PROPOSED",
        "pools/folk/methods/ngram": "LATER",
    }  # fmt: skip
    assert run("apply", file) == first
    assert run("apply", file, by=1) == first
    said = run("apply", file, text=True)
    assert "collectives/irish: proposal registry/proposals/" in said
    assert "0 changes made, 4 wait for another operator." in said
    names = [each["name"] for each in run("proposal", "list")]
    assert names == [each["proposal"] for each in first["changes"] if each["proposal"]]
    run("proposal", "approve", *names, by=1)
    assert states(run("apply", file)) == {"pools/folk/methods/ngram": "PROPOSED"}
    (waiting,) = run("proposal", "list")
    assert waiting["name"].startswith("pools/folk/proposals/")
    run("proposal", "approve", waiting["name"], by=1)
    assert run("apply", file)["changes"] == []


def test_what_is_registered_can_be_looked_at(run: Run, file: str, deployment: Deployment) -> None:
    run("apply", file)
    run("proposal", "approve", *(each["name"] for each in run("proposal", "list")), by=1)
    for kind, name in (("platform", "tunesmith"), ("collective", "irish"), ("pool", "folk"), ("operator", "olive")):
        assert name in [each["name"].rpartition("/")[2] for each in run(kind, "list")]
        assert run(kind, "show", name)["name"].endswith(f"/{name}")
        assert name in run(kind, "list", text=True)
        assert name in run(kind, "show", name, text=True)
    assert run("auditor", "list") == []
    assert [key["principal"] for key in run("operator", "show", "otto")["keys"]] == ["operators/otto"]
    run("collective", "show", "nobody", code=Exit.BAD_INPUT)
    key = deployment.key("auditors/ada")
    with pytest.raises(SystemExit) as caught:
        main(["key", "list", "--json", "--address", deployment.address, "--api-key", key])
    assert caught.value.code == Exit.OK


def test_a_command_whose_act_waits_says_so_and_ends_well(run: Run) -> None:
    said = run("operator", "add", "third", text=True)
    found = re.fullmatch(r"proposal (registry/proposals/\d+) waits for another operator", said)
    assert found
    again = run("operator", "add", "third")
    assert (again["proposal"], again["state"]) == (found[1], "PROPOSED")
    run("proposal", "approve", found[1], by=1)
    assert run("operator", "add", "third")["state"] == "DONE"


ACTS: Final = (
    "operator suspend third", "auditor add ada", "controls set --registry 2",
    "key issue operators/otto", "pool admit folk tunesmith", "pool close folk",
    "key issue platforms/tunesmith --pool folk", "membership set folk items {table}",
    "payment record folk irish --amount-minor 1 --request-id p",
)  # fmt: skip


def test_every_command_whose_act_waits_says_so_alike(
    run: Run, tmp_path: Path, month: Callable[[int], dict[str, int]]
) -> None:
    month(1)
    run("proposal", "approve", run("operator", "add", "third")["proposal"], by=1)
    run("proposal", "approve", run("pool", "expel", "folk", "tunesmith")["proposal"], by=1)
    (tmp_path / "table.csv").write_text("source,collective\nsong,irish\n")
    for act in ACTS:
        command = act.format(table=tmp_path / "table.csv").split()
        waits = run(*command)
        assert waits["state"] == "PROPOSED", act
        again = run(*command, text=True)
        if not act.startswith("key"):  # which makes another key each time
            assert again.splitlines()[0] == f"proposal {waits['proposal']} waits for another operator", act
        assert "waits for another operator" in again, act
        assert waits["proposal"] in [each["name"] for each in run("proposal", "list")], act


def test_a_proposal_shows_what_it_would_change(run: Run, file: str, tmp_path: Path) -> None:
    run("apply", file)
    run("proposal", "approve", *(each["name"] for each in run("proposal", "list")), by=1)
    more = tmp_path / "more.yaml"
    more.write_text(
        "collectives:\n  irish: {display_name: Irish, members: 42000000}\n"
        "pools:\n  folk:\n    display_name: Folk\n    currency: EUR\n    distribute: REPORTED\n"
        "    policy: {review_seconds: 60, fee_ppm: 50000}\n"
    )
    run("apply", str(more))
    found = {each["effect"]: run("proposal", "show", each["name"], by=1) for each in run("proposal", "list")}
    fields = {
        effect: [(each["field"], each["before"], each["after"]) for each in shown["changes"]]
        for effect, shown in found.items()
    }
    assert fields["policy.v1"] == [("fee_ppm", 0, 50_000)]
    assert ("members", 4_200, 42_000_000) in fields["collective.v1"]
    assert "42000000" in run("proposal", "show", found["collective.v1"]["name"], text=True)
    assert [shown["last_rounds"] for shown in found.values()] == [[], []]


def test_apply_names_what_waits_and_is_no_longer_in_the_file(run: Run, file: str, tmp_path: Path) -> None:
    approve_all(run, file)
    other = tmp_path / "other.yaml"
    other.write_text(DECLARED.replace("members: 4200", "members: 42000000"))
    (change,) = run("apply", str(other))["changes"]
    # Back to what holds, which says nothing of the members that wait for whoever approves them.
    again = run("apply", file)
    assert again["changes"] == []
    assert [each["name"] for each in again["also_waiting"]] == [change["proposal"]]
    assert f"{change['proposal']} waits too" in run("apply", file, text=True)
    assert run("apply", str(other))["also_waiting"] == []


def approve_all(run: Run, file: str) -> None:
    """Have everything that a file declares proposed and approved."""
    while run("apply", file)["changes"]:
        run("proposal", "approve", *(each["name"] for each in run("proposal", "list")), by=1)


@pytest.fixture
def month(run: Run, tmp_path: Path, deployment: Deployment) -> Callable[[int], dict[str, int]]:
    """Lives through a month of a pool, always with the same usage and revenue; gives what each collective got."""
    file = tmp_path / "paid.yaml"
    file.write_text(PAID)
    approve_all(run, str(file))
    key = make_key()
    run("proposal", "approve", run("key", "issue", "platforms/tunesmith", "--hash", key.hash)["proposal"], by=1)

    def live(number: int) -> dict[str, int]:
        used = UsageEvent(uuid4(), NOON, 7, Mode.AI_ONLY, {"irish": NANO // 2, "breton": NANO // 5})
        with Client(deployment.address, key.text) as platform:
            platform.submit_events("folk", [used], "ngram", batch_id=f"b-{number}")
            platform.report_revenue("folk", 100_000, "EUR", request_id=f"r-{number}")
        run("round", "calculate", "folk", "--request-id", f"q-{number}")
        deployment.clock.advance(seconds=60)
        run("round", "approve", "folk", str(number), by=1)
        lines = run("round", "statement", "folk", str(number))["lines"]
        return {line["collective"]: int(line["amount_minor"]) for line in lines}

    return live


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("members: 4200", "members: 42"),
        ("equity_ppm: 1000000", "equity_ppm: 3000000"),
        ("confidence_ppm: 900000", "confidence_ppm: 100000"),
        ("fee_ppm: 0", "fee_ppm: 250000"),
        ("  breton:", "  manx: {display_name: Manx, members: 9000}\n  breton:"),
    ],
)
def test_a_proposal_shows_the_last_round_as_the_next_one_then_is(
    run: Run, tmp_path: Path, month: Callable[[int], dict[str, int]], before: str, after: str
) -> None:
    first = month(1)
    file = tmp_path / "changed.yaml"
    file.write_text(PAID.replace(before, after))
    (change,) = run("apply", str(file))["changes"]
    shown = run("proposal", "show", change["proposal"], by=1)
    (compared,) = shown["last_rounds"]
    assert (
        {each["collective"]: each["amount_minor"] for each in compared["collectives"]} == {"manx": 0, **first}
        if ("manx" in after)
        else first
    )
    foreseen = {each["collective"]: each["other_amount_minor"] for each in compared["collectives"]}
    assert "As proposed" in run("proposal", "show", change["proposal"], text=True)
    run("proposal", "approve", change["proposal"], by=1)
    if "fee_ppm" in before:  # in force from the round that starts after it
        month(2)
        assert month(3) == foreseen
    else:
        assert month(2) == foreseen
    assert foreseen != first


AT: Final = int(NOON.timestamp() * 10**6)
SCORED: Final = PAID.replace(
    "      ngram: {display_name: n-gram, confidence_ppm: 900000}",
    "      ngram: {display_name: n-gram, confidence_ppm: 900000, score_kind: SIMILARITY, membership: items}",
)


@pytest.fixture
def scored(run: Run, tmp_path: Path, deployment: Deployment) -> Callable[[int], dict[str, int]]:
    """A month of a pool whose platform sends scores of sources, some of which it takes back."""
    file = tmp_path / "scored.yaml"
    file.write_text(PAID)
    approve_all(run, str(file))
    run("proposal", "approve", membership(run, tmp_path, song="irish", tune="breton")["proposal"], by=1)
    file.write_text(SCORED)
    approve_all(run, str(file))
    key = make_key()
    run("proposal", "approve", run("key", "issue", "platforms/tunesmith", "--hash", key.hash)["proposal"], by=1)

    def live(number: int) -> dict[str, int]:
        scores = [[("song", 3.0), ("tune", 1.0), ("air", 1.0)], [("tune", 2.0), ("air", 5.0)], [("song", 1.0)]]
        used = [scored_event(each, 10 * number + place, units=7, occurred_at=AT) for place, each in enumerate(scores)]
        with Client(deployment.address, key.text) as platform:
            platform.submit_scores("folk", [score_record_batch(used)], "ngram", batch_id=f"b-{number}")
            taken = [UUID(bytes=used[1].event_id)]
            platform.retract_usage("folk", request_id=f"t-{number}", reason="wrong", event_ids=taken)
            platform.report_revenue("folk", 100_000, "EUR", request_id=f"r-{number}")
        run("round", "calculate", "folk", "--request-id", f"q-{number}")
        deployment.clock.advance(seconds=60)
        run("round", "approve", "folk", str(number), by=1)
        lines = run("round", "statement", "folk", str(number))["lines"]
        return {line["collective"]: int(line["amount_minor"]) for line in lines}

    return live


def membership(run: Run, tmp_path: Path, **whose: str) -> Any:
    table = tmp_path / "items.csv"
    table.write_text("source,collective\n" + "".join(f"{name},{to}\n" for name, to in whose.items()))
    return run("membership", "set", "folk", "items", str(table))


def test_a_membership_shows_the_last_round_as_the_next_one_then_is(
    run: Run, tmp_path: Path, scored: Callable[[int], dict[str, int]]
) -> None:
    first = scored(1)
    proposal = membership(run, tmp_path, song="breton", tune="breton", air="irish")["proposal"]
    (compared,) = run("proposal", "show", proposal, by=1)["last_rounds"]
    assert {each["collective"]: each["amount_minor"] for each in compared["collectives"]} == first
    foreseen = {each["collective"]: each["other_amount_minor"] for each in compared["collectives"]}
    assert "As proposed" in run("proposal", "show", proposal, text=True)
    run("proposal", "approve", proposal, by=1)
    assert scored(2) == foreseen != first


def test_another_rule_for_scores_shows_the_last_round_as_the_next_one_then_is(
    run: Run, tmp_path: Path, scored: Callable[[int], dict[str, int]]
) -> None:
    first = scored(1)
    file = tmp_path / "changed.yaml"
    file.write_text(SCORED.replace("membership: items", "membership: items, coverage_nano: 500000000"))
    (change,) = run("apply", str(file))["changes"]
    (compared,) = run("proposal", "show", change["proposal"], by=1)["last_rounds"]
    foreseen = {each["collective"]: each["other_amount_minor"] for each in compared["collectives"]}
    run("proposal", "approve", change["proposal"], by=1)
    assert scored(2) == foreseen != first


def test_a_membership_of_a_round_too_large_to_read_again_says_so(
    run: Run, tmp_path: Path, scored: Callable[[int], dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(1)
    monkeypatch.setattr("payout.store.rereading.MAX_BYTES", 1)
    proposal = membership(run, tmp_path, song="breton")["proposal"]
    shown = run("proposal", "show", proposal)
    assert shown["last_rounds"] == []
    assert "more usage to read again" in shown["not_compared"][0]
    assert "round 1 of folk was not compared" in run("proposal", "show", proposal, text=True)


def test_a_movement_shows_balances_and_a_membership_the_sources_that_change(
    run: Run, tmp_path: Path, month: Callable[[int], dict[str, int]]
) -> None:
    paid = month(1)["irish"]
    waiting = run("payment", "record", "folk", "irish", "--amount-minor", "100", "--request-id", "p")["proposal"]
    shown = run("proposal", "show", waiting, by=1)
    assert [tuple(each.values()) for each in shown["changes"]] == [
        ("balance of collective/irish", paid, paid - 100, "EUR"),
        ("balance of paid/irish", 0, 100, "EUR"),
    ]
    assert shown["last_rounds"] == []
    for number, whose in enumerate(({"song": "irish", "tune": "breton"}, {"song": "breton", "tune": "breton"})):
        table = tmp_path / f"{number}.csv"
        table.write_text("source,collective\n" + "".join(f"{name},{to}\n" for name, to in whose.items()))
        waiting = run("membership", "set", "folk", "items", str(table))["proposal"]
        fields = {
            each["field"]: (each["before"], each["after"]) for each in run("proposal", "show", waiting)["changes"]
        }
        run("proposal", "approve", waiting, by=1)
    assert fields["source song"] == ("irish", "breton")
    assert "source tune" not in fields
