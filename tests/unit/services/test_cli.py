from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
import typer
from google.protobuf.timestamp_pb2 import Timestamp

from ledger.money import MAX_AMOUNT_MINOR
from moiety import (
    BatchRefusal,
    BatchRefusedError,
    InvalidArgumentError,
    InvalidUsageError,
    MoietyError,
    Receipt,
    UsageFileError,
    Violation,
    errors,
)
from moiety.v1 import audit_pb2, audit_pb2_grpc, rounds_pb2
from services.cli.app import COMMANDS, app, main
from services.cli.base.documents import document
from services.cli.base.exits import Exit, InputError, exit_code
from services.cli.base.money import amount_in_minor, major
from services.cli.base.output import Output, report, table

REFUSED: Final = BatchRefusedError(
    [
        BatchRefusal(
            "b-1",
            1,
            10,
            10,
            InvalidArgumentError("no", violations=[Violation("events[2].units", "must be 1 to 1000000000")]),
        )
    ],
    [Receipt(name="pools/folk/batches/tunesmith~b-0", accepted_count=10)],
)


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "MOIETY_ADDRESS", "MOIETY_API_KEY", "MOIETY_CA_CERTIFICATE_FILE", "MOIETY_CLIENT_CERTIFICATE_FILE",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("amount_minor", "currency", "text"),
    [
        (1_250, "EUR", "12.50 EUR"),
        (5, "EUR", "0.05 EUR"),
        (0, "EUR", "0.00 EUR"),
        (-1_250, "EUR", "-12.50 EUR"),
        (-5, "EUR", "-0.05 EUR"),
        (1_250, "JPY", "1250 JPY"),
        (-7, "JPY", "-7 JPY"),
        (1_250, "BHD", "1.250 BHD"),
        (2**63 - 1, "EUR", "92233720368547758.07 EUR"),
    ],
)
def test_amounts_for_people_are_in_major_units(amount_minor: int, currency: str, text: str) -> None:
    assert major(amount_minor, currency) == text
    if 0 < amount_minor <= MAX_AMOUNT_MINOR:
        assert amount_in_minor(text.removesuffix(f" {currency}"), None, currency) == amount_minor


@pytest.mark.parametrize("amount", ["12.505", "1e3", "-1", "1,000.00", "12.", ".5", "", " 12", "٣", "NaN"])
def test_an_amount_that_is_no_plain_decimal_is_refused(amount: str) -> None:
    with pytest.raises(InputError):
        amount_in_minor(amount, None, "EUR")


@pytest.mark.parametrize("amount_minor", [0, -1, MAX_AMOUNT_MINOR + 1, 10**29])
def test_an_amount_that_no_transfer_may_move_is_refused(amount_minor: int) -> None:
    with pytest.raises(InputError, match="in minor units"):
        amount_in_minor(None, amount_minor, "EUR")
    if amount_minor >= 0:
        with pytest.raises(InputError, match="in minor units"):
            amount_in_minor(str(amount_minor), None, "JPY")


def test_an_amount_is_given_once() -> None:
    assert amount_in_minor(None, 1_250, "EUR") == 1_250
    with pytest.raises(InputError, match="either --amount"):
        amount_in_minor(None, None, "EUR")
    with pytest.raises(InputError, match="either --amount"):
        amount_in_minor("12.50", 1_250, "EUR")


def test_a_currency_without_a_minor_unit_is_refused() -> None:
    for currency in ("XAU", "EURO"):
        with pytest.raises(InputError, match=currency):
            amount_in_minor("1", None, currency)


def test_json_has_integers_hexadecimal_times_and_plain_words() -> None:
    found = rounds_pb2.Round(
        name="pools/folk/rounds/1",
        number=1,
        state=rounds_pb2.ROUND_STATE_POSTED,
        pot_minor=2**53,
        root=b"\x01\xff",
        calculate_time=Timestamp(seconds=1),
    )
    data = json.loads(json.dumps(document(found)))
    assert (data["pot_minor"], data["state"], data["root"]) == (2**53, "POSTED", "01ff")
    assert data["calculate_time"] == "1970-01-01T00:00:01.000000Z"
    assert (data["post_time"], data["policy"], data["reason"]) == (None, None, "")
    assert document(audit_pb2.ReplayVerdict(outcome=audit_pb2.REPLAY_OUTCOME_MATCH))["outcome"] == "MATCH"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidArgumentError("x"), Exit.BAD_INPUT),
        (errors.NotFoundError("x"), Exit.BAD_INPUT),
        (InvalidUsageError("units", 3, "is missing"), Exit.BAD_INPUT),
        (UsageFileError(Path("x.csv"), "does not exist"), Exit.BAD_INPUT),
        (REFUSED, Exit.BAD_INPUT),
        (errors.FailedPreconditionError("x"), Exit.REFUSED_BY_STATE),
        (errors.AlreadyExistsError("x"), Exit.REFUSED_BY_STATE),
        (errors.AbortedError("x"), Exit.REFUSED_BY_STATE),
        (errors.UnauthenticatedError("x"), Exit.NOT_ALLOWED),
        (errors.PermissionDeniedError("x"), Exit.NOT_ALLOWED),
        (errors.UnavailableError("x"), Exit.SERVICE_AWAY),
        (errors.DeadlineExceededError("x"), Exit.SERVICE_AWAY),
        (errors.DataLossError("x"), Exit.FAULT),
        (errors.InternalError("x"), Exit.FAULT),
        (errors.ServiceError("x"), Exit.FAULT),
    ],
)
def test_every_error_has_an_exit_code(error: MoietyError, code: Exit) -> None:
    assert exit_code(error) is code


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (REFUSED, ["events[12].units: must be 1 to 1000000000"]),
        (InvalidUsageError("units", 3, "is missing"), ["events[3].units: is missing"]),
        (UsageFileError(Path("x.csv"), "does not exist"), ["x.csv: does not exist"]),
        (errors.NotFoundError("pools/folk does not exist"), ["error: pools/folk does not exist"]),
        (InputError([Violation("a", "is missing"), Violation("b", "is wrong")]), ["a: is missing", "b: is wrong"]),
    ],
)
def test_errors_are_a_line_for_each_field(
    error: MoietyError, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    report(error, as_json=False)
    captured = capsys.readouterr()
    assert (captured.out, captured.err.splitlines()) == ("", lines)


def test_errors_are_one_json_document_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    report(REFUSED, as_json=True)
    captured = capsys.readouterr()
    found = json.loads(captured.err)
    assert captured.out == ""
    assert found["error"]["exit_code"] == Exit.BAD_INPUT
    assert found["error"]["violations"] == [{"field": "events[12].units", "description": "must be 1 to 1000000000"}]
    assert [receipt["accepted_count"] for receipt in found["receipts"]] == [10]


def test_a_table_in_a_pipe_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).show(None, table(["Name"], [["x" * 300], ["[bold]no markup[/bold]"]]))
    out = capsys.readouterr().out
    assert "x" * 300 in out
    assert "[bold]no markup[/bold]" in out


def test_an_api_key_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["round", "list", "folk"]) == Exit.NOT_ALLOWED
    assert capsys.readouterr().err == "api-key: is missing; use --api-key or set MOIETY_API_KEY\n"


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_a_number_that_no_field_can_hold_is_bad_input(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    balance = ["balance", "folk", "--log-size", str(10**30), "--api-key", "x", "--address", "127.0.0.1:1"]
    assert run([*balance, *option]) == Exit.BAD_INPUT
    assert str(10**30) in capsys.readouterr().err


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_a_fault_of_ours_is_not_taken_for_a_finding(
    option: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COMMANDS, "balance", "services.cli.nowhere:balance")
    assert run(["balance", "folk", *option]) == Exit.FAULT
    assert "services.cli.nowhere" in capsys.readouterr().err


def test_a_certificate_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["balance", "folk", "--api-key", "x", "--ca-certificate", "none.pem"]) == Exit.BAD_INPUT
    assert capsys.readouterr().err == "ca-certificate: none.pem: No such file or directory\n"


def test_a_command_line_that_cannot_be_read_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["round", "show", "folk", "one", "--json"]) == Exit.BAD_INPUT
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["error"]["violations"][0]["field"] == "command line"
    assert run(["round", "show", "folk", "one"]) == Exit.BAD_INPUT


class Auditor(audit_pb2_grpc.AuditServiceServicer):
    """Replays as it is told."""

    verdict = audit_pb2.ReplayVerdict()

    def ReplayRound(self, *_: Any) -> Iterator[audit_pb2.ReplayRoundResponse]:  # noqa: N802
        progress = audit_pb2.ReplayProgress(leaves=1, leaf_total=2)
        yield audit_pb2.ReplayRoundResponse(progress=progress)
        if self.verdict.ByteSize():
            yield audit_pb2.ReplayRoundResponse(verdict=self.verdict)


@pytest.mark.parametrize(
    ("verdict", "code", "first_word"),
    [
        (audit_pb2.ReplayVerdict(outcome=audit_pb2.REPLAY_OUTCOME_MATCH, leaves=2), Exit.OK, "MATCH:"),
        (
            audit_pb2.ReplayVerdict(
                outcome=audit_pb2.REPLAY_OUTCOME_DIVERGED,
                leaf_index=7,
                line=3,
                figure="amount_minor",
                claimed="5",
                expected="4",
            ),
            Exit.DOES_NOT_HOLD,
            "DIVERGED:",
        ),
        (audit_pb2.ReplayVerdict(), Exit.FAULT, "NO"),
    ],
)
def test_a_replay_ends_with_the_verdict_and_its_exit_code(
    verdict: audit_pb2.ReplayVerdict, code: Exit, first_word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    auditor = Auditor()  # type: ignore[abstract]  # it only replays
    auditor.verdict = verdict
    server = grpc.server(ThreadPoolExecutor(1))
    audit_pb2_grpc.add_AuditServiceServicer_to_server(auditor, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    arguments = ["round", "replay", "folk", "1", "--address", address, "--api-key", "secret"]
    assert run(arguments) == code
    people = capsys.readouterr()
    assert run([*arguments, "--json"]) == code
    machines = capsys.readouterr()
    server.stop(None).wait()
    assert people.out.startswith(first_word)
    assert ("amount_minor" in people.out) == (code is Exit.DOES_NOT_HOLD)
    assert json.loads(machines.out)["line"] == verdict.line
    assert people.err == machines.err == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == Exit.OK
    assert capsys.readouterr().out.strip()


def helps(command: Any) -> Iterator[str]:
    yield command.help or ""
    for each in getattr(command, "commands", {}).values():
        yield from helps(each)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_no_line_breaks_of_the_source(name: str) -> None:
    group = typer.main.get_group(app)
    for text in (group.help or "", *helps(group.get_command(None, name))):  # type: ignore[arg-type]
        assert text
        assert "\n" not in text.replace("\n\n", "")


def test_the_help_has_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == Exit.OK
    out = " ".join(capsys.readouterr().out.split())
    assert "Exit codes: 0 done; 1 " in out


def test_without_the_server_the_command_says_what_to_install() -> None:
    program = "import sys; sys.modules['typer'] = None; from services.cli.entry import main; main()"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == Exit.BAD_INPUT
    assert ended.stderr == 'This command needs the package typer: pip install "moiety-server[serve]"\n'


def test_a_command_that_ends_does_not_look_through_what_it_leaves() -> None:
    program = """
import atexit, gc
atexit.register(lambda: print(gc.get_freeze_count() > len(gc.get_objects())))
from services.cli.entry import main
main()
"""
    ended = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "True"
