"""What a verb does, said step by step: nothing here touches a socket, a thread or an event loop.

A verb is a generator. It yields what it needs next (a call to be made, an answer to be waited for, a pause) and is sent
what came of it, or has its failure thrown in. `moiety.blocking` carries steps out in the caller's thread and
`moiety.awaiting` in an event loop, so retries, deadlines and submissions are written once for both clients.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeAlias, TypeVar

Result = TypeVar("Result")
Item = TypeVar("Item")
Item_co = TypeVar("Item_co", covariant=True)
Response = TypeVar("Response")

Metadata: TypeAlias = tuple[tuple[str, str], ...]


class End(Enum):
    """What is received where a stream has no more answers."""

    OF_STREAM = 0


class Stream(Protocol):
    """An open stream of answers, and of requests where it takes any."""

    def send(self, request: Any) -> None:
        """Queue a request; never waits."""

    def close(self) -> None:
        """End the stream. Answers that were not received are lost."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Make one attempt at a call with one answer. Returns the answer; fails with a `ServiceError`."""

    method: Any
    request: Any
    timeout_seconds: float
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Open:
    """Open a stream: of answers to one request, or to those that are sent where `request` is None. Returns a `Stream`.

    `is_again` says that one before it was cut, perhaps because the service refused it.
    """

    method: Any
    request: Any
    metadata: Metadata
    is_again: bool = False


@dataclass(frozen=True, slots=True)
class Receive:
    """Wait for the next answer of a stream. Returns it, or `End.OF_STREAM`; fails with a `ServiceError`."""

    stream: Stream
    timeout_seconds: float | None


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for some seconds. Returns nothing."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """Do what takes the processor's or a disk's time. Returns what it gives, and fails as it fails."""

    do: Callable[[], Any]


Step: TypeAlias = Ask | Open | Receive | Pause | Work
Steps: TypeAlias = Generator[Step, Any, Result]


class Pages(Protocol[Item_co]):
    """A list, page by page."""

    @property
    def is_over(self) -> bool:
        """Whether the last page was given."""

    def next_page(self) -> Steps[Sequence[Item_co]]:
        """Ask for the next page."""

    def close(self) -> None:
        """Take note that no page is asked for any more."""


def all_items(pages: Pages[Item]) -> Steps[list[Item]]:
    """Return the items of all pages."""
    found: list[Item] = []
    while not pages.is_over:
        found += yield from pages.next_page()
    return found
