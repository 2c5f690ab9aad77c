"""Whose content is whose: domains declared, kept apart, and used for telemetry."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from ledger.errors import StoreUnfitError
from moiety import (
    Client,
    Collective,
    FailedPreconditionError,
    InvalidArgumentError,
    NoDomainsError,
    ServiceError,
)
from moiety.batches import decode
from services.cli.app import main
from services.cli.base.exits import Exit
from tests.support.deployment import Deployment
from tests.support.scene import METHOD, NANO, POOL, Scene, open_scene

pytestmark = pytest.mark.surface

EXAMPLE: Final = Path(__file__).parents[2] / "docs" / "examples" / "telemetry.ndjson"

DECLARED: Final = """
collectives:
  irish: {display_name: irish, members: 10, domains: [irish-music.example]}
  scottish: {display_name: scottish, members: 10, domains: [SCOTS-fiddle.example., "content-id:mkt:scots-fiddle:"]}
  breton: {display_name: breton, members: 10}
"""


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    deployment.clock.advance(days=366)  # to when the example's sessions were reported
    return open_scene(deployment)


@pytest.fixture(scope="module")
def refusing(shared_deployment: Deployment) -> Scene:
    """One for all tests in which everything is refused."""
    return open_scene(shared_deployment)


def set_domains(client: Client, collective: str, *domains: str, validate_only: bool = False) -> Collective:
    content = client.get_collective(collective)
    del content.domains[:]
    content.domains.extend(domains)
    return client.update_collective(collective, content, validate_only=validate_only)


def domains_of(client: Client, collective: str) -> list[str]:
    return list(client.get_collective(collective).domains)


def test_domains_are_kept_sorted_and_replaced(scene: Scene) -> None:
    operator = scene.operator
    new = Collective(display_name="Welsh", domains=["welsh.example", "cymru.example", "welsh.example"])
    for _ in range(2):
        assert list(operator.create_collective("welsh", new).domains) == ["cymru.example", "welsh.example"]
    assert list(set_domains(operator, "welsh", "xn--mnchen-3ya.example").domains) == ["xn--mnchen-3ya.example"]
    assert domains_of(operator, "welsh") == ["xn--mnchen-3ya.example"]
    assert {found.name: list(found.domains) for found in operator.list_collectives()} == {
        "collectives/breton": [],
        "collectives/irish": [],
        "collectives/scottish": [],
        "collectives/welsh": ["xn--mnchen-3ya.example"],
    }
    assert list(set_domains(operator, "welsh").domains) == []


def test_two_collectives_never_have_the_same_domain(scene: Scene) -> None:
    set_domains(scene.operator, "irish", "folk.example", "irish.example")
    for validate_only in (True, False):
        with pytest.raises(FailedPreconditionError, match=r"folk\.example belongs to collectives/irish") as caught:
            set_domains(scene.operator, "scottish", "scots.example", "folk.example", validate_only=validate_only)
        assert caught.value.reason == "DOMAIN_TAKEN"
        with pytest.raises(FailedPreconditionError, match=r"folk\.example belongs to collectives/irish"):
            scene.operator.create_collective(
                "welsh", Collective(display_name="Welsh", domains=["folk.example"]), validate_only=validate_only
            )
    assert domains_of(scene.operator, "scottish") == []
    assert "collectives/welsh" not in [found.name for found in scene.operator.list_collectives()]


def test_a_domain_that_was_let_go_may_be_another_s(scene: Scene) -> None:
    set_domains(scene.operator, "irish", "folk.example")
    set_domains(scene.operator, "irish")
    assert list(set_domains(scene.operator, "scottish", "folk.example").domains) == ["folk.example"]
    with pytest.raises(FailedPreconditionError, match="belongs to collectives/scottish"):
        set_domains(scene.operator, "irish", "folk.example")


def test_of_two_who_claim_a_domain_at_once_one_gets_it(scene: Scene) -> None:
    names = [f"choir-{number}" for number in range(6)]
    refused: list[ServiceError] = []
    ready = threading.Barrier(len(names))

    def claim(name: str) -> None:
        ready.wait()
        try:
            scene.operator.create_collective(name, Collective(display_name=name, domains=["b.example", "a.example"]))
        except ServiceError as error:
            refused.append(error)

    threads = [threading.Thread(target=claim, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == len(names) - 1
    assert {error.reason for error in refused} == {"DOMAIN_TAKEN"}
    owners = [found.name for found in scene.operator.list_collectives() if found.domains]
    assert len(owners) == 1


@pytest.mark.parametrize(
    ("domain", "reason"),
    [
        ("Irish.example", "must be written 'irish.example', got 'Irish.example'"),
        ("irish.example.", "must be written 'irish.example'"),
        ("münchen.example", "must be written 'xn--mnchen-3ya.example'"),
        ("*.irish.example", "must be written without a wildcard"),
        ("https://irish.example", "must be a domain alone"),
        ("192.0.2.1", "is not a domain"),
        ("irish.example\0", "is not a domain"),
        ("", "is not a domain"),
    ],
)
def test_what_is_no_domain_in_canonical_form_is_refused(refusing: Scene, domain: str, reason: str) -> None:
    for validate_only in (True, False):
        with pytest.raises(InvalidArgumentError) as caught:
            set_domains(refusing.operator, "irish", "good.example", domain, validate_only=validate_only)
        (violation,) = caught.value.violations
        assert violation.field == "collective.domains[1]"
        assert reason in violation.description
    assert domains_of(refusing.operator, "irish") == []


def test_a_collective_has_at_most_a_thousand_domains_and_pages_are_cut_to_fit(scene: Scene) -> None:
    names = [f"choir-{number:02}" for number in range(12)]
    for name in names:
        domains = [f"{place}.{name}.{'a' * 60}.{'b' * 60}.example" for place in range(1_000)]
        scene.operator.create_collective(name, Collective(display_name=name, domains=domains))
    found = {found.name: len(found.domains) for found in scene.operator.list_collectives()}
    assert [found[f"collectives/{name}"] for name in names] == [1_000] * 12
    assert len(found) == 15
    with pytest.raises(InvalidArgumentError, match="at most 1,000, got 1,001"):
        set_domains(scene.operator, "irish", *(f"{place}.example" for place in range(1_001)))


def test_the_service_may_not_delete_a_domain(scene: Scene) -> None:
    set_domains(scene.operator, "irish", "folk.example")
    database = scene.deployment.running.parts.database
    with pytest.raises(StoreUnfitError, match="permission denied"), database.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM collective_domain")


# The command line, and telemetry.


def cli(scene: Scene, *arguments: str, principal: str = "operators/olive") -> int:
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--address", scene.deployment.address, "--api-key", scene.deployment.key(principal)])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def apply(scene: Scene, folder: Path, text: str) -> int:
    (folder / "declared.yaml").write_text(text, "utf-8")
    return cli(scene, "apply", str(folder / "declared.yaml"))


def recorded_shares(scene: Scene) -> Iterator[dict[str, int]]:
    """The shares of each recorded event, in the order of the log."""
    for receipt in scene.operator.list_batches(POOL):
        for row in decode(scene.operator.get_body(POOL, receipt.body_sha256)).to_pylist():
            yield dict(zip(row["collectives"], row["shares"], strict=True))


def test_declaring_domains_again_changes_nothing_and_they_move_from_one_to_another(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert apply(scene, tmp_path, DECLARED) == Exit.OK
    assert "['content-id:mkt:scots-fiddle:', 'scots-fiddle.example']" in capsys.readouterr().out
    assert apply(scene, tmp_path, DECLARED) == Exit.OK
    assert "Nothing changes." in capsys.readouterr().out
    # The one who takes it over stands first in the file.
    moved = DECLARED.replace("[irish-music.example]", "[scots-fiddle.example]").replace("[SCOTS-fiddle.example.,", "[")
    assert apply(scene, tmp_path, moved) == Exit.OK
    assert domains_of(scene.operator, "irish") == ["scots-fiddle.example"]
    assert domains_of(scene.operator, "scottish") == ["content-id:mkt:scots-fiddle:"]


def test_a_domain_of_a_collective_that_is_not_declared_is_refused_before_anything_changes(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_domains(scene.operator, "irish", "folk.example")
    taking = "collectives:\n  welsh: {display_name: W}\n  scottish: {display_name: S, domains: [folk.example]}"
    assert apply(scene, tmp_path, taking) == Exit.REFUSED_BY_STATE
    assert "the domain folk.example belongs to collectives/irish" in capsys.readouterr().err
    assert "collectives/welsh" not in [found.name for found in scene.operator.list_collectives()]


def test_telemetry_is_attributed_by_the_declared_domains(scene: Scene, tmp_path: Path) -> None:
    assert apply(scene, tmp_path, DECLARED) == Exit.OK
    submit = ["usage", "submit", POOL, str(EXAMPLE), "--method", METHOD, "--telemetry"]
    # One document of the example is invalid, so the command exits with 2 though the others are recorded.
    assert cli(scene, *submit, principal="platforms/tunesmith") == Exit.BAD_INPUT
    assert list(recorded_shares(scene)) == [
        {"irish": 525_000_000, "scottish": 225_000_000},
        {},
        {"irish": 250_000_000},
        {},
        {},
        {"irish": 250_000_000, "scottish": 750_000_000},
        {"irish": 750_000_000, "scottish": 250_000_000},
    ]
    found = scene.platform.submit_telemetry(POOL, EXAMPLE, METHOD, by="grounded-characters")
    assert [(receipt.accepted_count, receipt.duplicate_count) for receipt in found.receipts] == [(7, 0)]


def test_a_file_of_domains_takes_the_place_of_the_declared_ones(scene: Scene, tmp_path: Path) -> None:
    assert apply(scene, tmp_path, DECLARED) == Exit.OK
    own = tmp_path / "own.yaml"
    own.write_text("collectives: {breton: {domains: [volksmusik-bayern.example]}}", "utf-8")
    submit = ["usage", "submit", POOL, str(EXAMPLE), "--method", METHOD, "--telemetry", "--domains", str(own)]
    assert cli(scene, *submit, principal="platforms/tunesmith") == Exit.BAD_INPUT
    assert [shares.get("breton", 0) for shares in recorded_shares(scene)] == [0, NANO, 750_000_000, NANO, 0, 0, 0]


def test_without_any_domain_telemetry_is_refused_rather_than_lost(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NoDomainsError):
        scene.platform.submit_telemetry(POOL, EXAMPLE, METHOD, by="citations")
    submit = ["usage", "submit", POOL, str(EXAMPLE), "--method", METHOD, "--telemetry"]
    assert cli(scene, *submit, principal="platforms/tunesmith") == Exit.BAD_INPUT
    assert "no collective has a domain" in capsys.readouterr().err
    assert list(scene.platform.list_batches(POOL)) == []
