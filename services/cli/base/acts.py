"""The output of commands that act: what they did, or which proposal waits for another operator."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from services.cli.base.documents import document
from services.cli.base.output import Output


def outcome(message: Message) -> dict[str, Any]:
    """The message as JSON, with `state` DONE or PROPOSED beside its `proposal`."""
    shown = document(message)
    return {**shown, "state": "PROPOSED" if shown["proposal"] else "DONE"}


def waiting(message: Message) -> list[str]:
    """Returns the sentence to print if the act waits; nothing if it was done."""
    proposal: str = getattr(message, "proposal", "")
    return [f"proposal {proposal} waits for another operator"] if proposal else []


def done_or_waits(message: Message, done: str) -> str:
    """Returns what was done, or which proposal waits."""
    return (waiting(message) or [done])[0]


def show_act(output: Output, message: Message, done: str) -> None:
    """Print an act's outcome: for people what was done, or which proposal waits."""
    output.show(outcome(message), done_or_waits(message, done))
