"""Participants: the registered platforms and collectives, and the form of ids."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from ledger.errors import InvalidInputError, Sentence

PPM: Final = 10**6
"""A whole, in millionths."""

NANO: Final = 10**9
"""A whole, in billionths."""

MAX_MEMBERS: Final = 10**10
MAX_EQUITY_PPM: Final = 10**8
MAX_DISPLAY_NAME: Final = 200
MAX_DOMAINS: Final = 1_000
"""Of one collective: all of them fit in one message."""

CONTENT_ID: Final = "content-id:"
"""What a domain begins with that is a prefix of content ids."""
MAX_DOMAIN_BYTES: Final = len(CONTENT_ID) + 256
"""A name of a host has 253 at most (RFC 1035)."""
_HOST: Final = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_-]{1,63}\.)*(?![0-9]+\Z)[a-z0-9_-]{1,63}")
"""A-labels in lower case, of which the last is not a number: that would be an IP address."""
_UNSEEN: Final = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029]")

MAX_NOTE: Final = 1_000
MAX_URI: Final = 2_000

MAX_RESOURCE_ID: Final = 63
MAX_NAMED: Final = 500
"""How many resources an entry names in a list: an entry has room for some 900 ids of the longest."""
_RESOURCE_ID: Final = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Unicode's general category Cc, which never changes."""
_MISLEADING: Final = re.compile(r"[\u200b\u2028-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
"""Characters without a form of their own that reorder or part what is shown, U+2028 and U+2029 (which end a line) among
them. Source: Unicode TR 36, section 2.5. Marks of direction and joiners stay: names in Arabic, Hebrew, Persian and
Indic scripts need them.
"""
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")


def is_domain(text: str) -> bool:
    """Whether a text has the form of one of a collective's domains: a host's name, or a prefix of content ids."""
    if not text.startswith(CONTENT_ID):
        return bool(_HOST.fullmatch(text))
    return len(CONTENT_ID) < len(text.encode()) <= MAX_DOMAIN_BYTES and not _UNSEEN.search(text)


def is_resource_id(value: str) -> bool:
    """Whether a text has the form of an id of a platform, collective, pool or method."""
    return bool(_RESOURCE_ID.fullmatch(value))


def require_resource_id(value: str, field: str) -> str:
    """Returns the id of a platform, collective, pool or method, if it has the right form (AIP-122)."""
    if not is_resource_id(value):
        raise InvalidInputError.of(
            field,
            "must be 1 to 63 of a-z, 0-9 and hyphen, beginning with a letter and not ending with a hyphen, got %(got)r",
            got=value[:80],
        )
    return value


def require_request_id(value: str, field: str) -> str:
    """Returns an id that a caller gave to a batch or a request, if it has the right form."""
    if not _REQUEST_ID.fullmatch(value):
        raise InvalidInputError.of(field, "must be 1 to 128 of A-Z, a-z, 0-9 and ._-, got %(got)r", got=value[:140])
    return value


def require_text(value: str, field: str, *, most: int, least: int = 0) -> str:
    """Returns a text for people, if its length is within bounds and all of it shows as what it is."""
    if not least <= len(value) <= most:
        raise InvalidInputError.of(
            field, "must have %(least)s to %(most)s characters, got %(got)s", least=least, most=most, got=len(value)
        )
    if value.isascii() and value.isprintable():  # as most are, in a fifth of the time
        return value
    if _CONTROL.search(value):
        raise InvalidInputError.of(field, "must not contain control characters")
    if _MISLEADING.search(value):
        raise InvalidInputError.of(field, "must not contain characters that break lines, or reorder or hide others")
    return value


def require_range(value: int, field: str, least: int, most: int) -> int:
    """Returns an integer, if it is within bounds, both included."""
    if not least <= value <= most:
        raise InvalidInputError.of(
            field, "must be %(least)s to %(most)s, got %(got)s", least=least, most=most, got=value
        )
    return value


class CollectiveStatus(StrEnum):
    """Whether a collective is paid; what a SUSPENDED collective earns is held."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform. `created_at` is None until it is registered."""

    name: str
    display_name: str
    created_at: datetime | None = None

    def __post_init__(self) -> None:
        require_resource_id(self.name, "platform_id")
        require_text(self.display_name, "platform.display_name", least=1, most=MAX_DISPLAY_NAME)


@dataclass(frozen=True, slots=True)
class Collective:
    """A collective: its number of contributors, its equity factor in millionths, and its domains, sorted."""

    name: str
    display_name: str
    members: int = 0
    equity_ppm: int = PPM
    status: CollectiveStatus = CollectiveStatus.ACTIVE
    domains: tuple[str, ...] = ()
    created_at: datetime | None = None

    def __post_init__(self) -> None:
        require_resource_id(self.name, "collective_id")
        require_text(self.display_name, "collective.display_name", least=1, most=MAX_DISPLAY_NAME)
        require_range(self.members, "collective.members", 0, MAX_MEMBERS)
        require_range(self.equity_ppm, "collective.equity_ppm", 0, MAX_EQUITY_PPM)
        if len(self.domains) > MAX_DOMAINS:
            reason = Sentence("must be at most %(most)s, got %(got)s", most=MAX_DOMAINS, got=len(self.domains))
            raise InvalidInputError.of("collective.domains", reason)
