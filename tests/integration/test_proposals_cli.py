"""Proposals and what is registered, from the command line of a deployment founded by two."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from ledger.acts.controls import Controls
from services.cli.app import main
from services.cli.base.exits import Exit
from tests.support.deployment import FOUNDERS, Deployment

DECLARED: Final = """
platforms:
  tunesmith: {display_name: Tunesmith}
collectives:
  irish: {display_name: Irish, members: 4200}
pools:
  folk:
    display_name: Folk
    currency: EUR
    policy: {review_seconds: 60}
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


def test_a_proposal_shows_what_it_would_change(run: Run, file: str, tmp_path: Path) -> None:
    run("apply", file)
    run("proposal", "approve", *(each["name"] for each in run("proposal", "list")), by=1)
    more = tmp_path / "more.yaml"
    more.write_text(
        "collectives:\n  irish: {display_name: Irish, members: 42000000}\n"
        "pools:\n  folk:\n    display_name: Folk\n    currency: EUR\n    policy: {review_seconds: 60, fee_ppm: 50000}\n"
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
