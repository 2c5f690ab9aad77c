"""Nothing that others wrote reaches a terminal or a log line raw, whatever way it is printed."""

from __future__ import annotations

import json
import logging
import sys
from io import StringIO
from typing import Any, Final

import pytest
import structlog

from audit.findings import Finding, Where
from audit.steps import Step
from audit.verification.report import Report
from ledger.errors import FormatError
from services.cli.audit.verdict import show
from services.cli.base.exits import InputError
from services.cli.base.output import Output, details, report, table, write_bytes
from services.printing import printable, printable_json, printable_lines
from services.process.logs import configure_logs
from services.settings import Settings

HOSTILE: Final = "\x1b[2J\x1b[H\x07\x9b31m\u202eliam\u2066\u2028All of it holds.\n\r\x00\udc80\U000e0041[bold]x[/bold]"
"""Clears the screen, rings, turns the order, breaks the line, hides text, and is markup."""

RAW: Final = set("\x1b\x07\x9b\u202e\u2066\u2028\r\x00\udc80\U000e0041")


class Terminal(StringIO):
    """A stream that says that it is a terminal, and keeps what is written to it."""

    def isatty(self) -> bool:
        return True


def terminal_of(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """What stdout and stderr are from here on. Not a fixture: pytest sets them anew before a test."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "dumb")  # so that what is written has no colours of our own
    return stream


def test_what_is_not_printable_is_escaped_and_all_else_stays() -> None:
    assert printable("\x1b[2J\n\u202e\x9b\ud800") == "\\x1b[2J\\n\\u202e\\x9b\\ud800"
    plain = "Österreich, 日本, می\u200cخ, 12.50 EUR"
    assert printable(plain) == plain
    assert printable_lines("a\x1b\nb\x07") == "a\\x1b\nb\\x07"


def test_json_means_the_same_once_it_is_escaped() -> None:
    document = {"name": HOSTILE, "of": ["日本", 1]}
    told = printable_json(json.dumps(document, indent=2, ensure_ascii=False))
    assert not RAW & set(told)
    assert json.loads(told) == document


@pytest.mark.parametrize(
    "people",
    [HOSTILE, details([(HOSTILE, HOSTILE)]), table(["Name"], [(HOSTILE,)])],
    ids=["line", "details", "table"],
)
def test_text_of_others_is_shown_in_one_line_and_harmless(people: object, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    Output(as_json=False).show(None, people)
    told = terminal.getvalue()
    assert not RAW & set(told)
    assert "\\x1b[2J" in told.replace("\n", "")
    assert not [line for line in told.splitlines() if line.strip() == "All of it holds."]
    assert "[bold]x[/bold]" in "".join(line.strip() for line in told.splitlines())


def test_errors_progress_and_files_are_harmless_too(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    output = Output(as_json=False)
    report(InputError.of(HOSTILE, HOSTILE), as_json=False)
    report(FormatError(HOSTILE, HOSTILE), as_json=True)
    with output.progress(HOSTILE + "{task.total}", 3, "leaves") as bar:
        bar.advance(1)
    write_bytes(HOSTILE.encode(errors="surrogatepass"))
    told = terminal.getvalue()
    assert not (RAW - {"\x1b"}) & set(told)  # progress moves the cursor itself
    assert "\x1b[2J" not in told
    assert "\\u202e" in told


def test_a_finding_cannot_draw_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    found = Report()
    found.add(Finding(Where(file=HOSTILE), HOSTILE, HOSTILE, HOSTILE, Step.FILES))
    assert show(Output(as_json=False), found) is False
    assert not RAW & set(terminal.getvalue())
    assert "All of it holds." not in terminal.getvalue().splitlines()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_logs_are_harmless(log_format: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.model_construct(log_format=log_format, log_level="INFO")
    terminal = terminal_of(monkeypatch)
    before = structlog.get_config()
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    try:
        configure_logs(settings)
        structlog.get_logger("test").info(HOSTILE, pool=HOSTILE, parts=[HOSTILE])
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            structlog.get_logger("test").exception("failed")
            logging.getLogger("other").exception("failed %s", HOSTILE)
    finally:
        structlog.configure(**before)
        root.handlers, root.level = handlers, level
    told = terminal.getvalue()
    assert "failed" in told
    assert not (RAW - {"\x1b"}) & set(told)  # the lines for people have colours of our own
    assert "\x1b[2J" not in told
