"""Parsing and building resource names (AIP-122), and the tokens of pages (AIP-158)."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from ledger.errors import InvalidInputError
from ledger.registry import require_range, require_request_id, require_resource_id

DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 1_000
_MAX_TOKEN: Final = 4_096


def ids_in(name: str, pattern: str, field: str) -> tuple[str, ...]:
    """Returns the ids in a resource name: `ids_in("pools/a/rounds/3", "pools/*/rounds/*", ...)` is ("a", "3").

    Raises:
        InvalidInputError: the name does not match the pattern.
    """
    parts, wanted = name.split("/"), pattern.split("/")
    fits = len(parts) == len(wanted) and all(want in ("*", part) for part, want in zip(parts, wanted, strict=False))
    if not fits:
        raise InvalidInputError.of(
            field, "must have the form %(pattern)s, got %(got)r", pattern=pattern, got=name[:200]
        )
    return tuple(part for part, want in zip(parts, wanted, strict=True) if want == "*")


def only_id(name: str, collection: str, field: str) -> str:
    """Returns the id in `{collection}/{id}`, if it is a valid resource id."""
    (identity,) = ids_in(name, f"{collection}/*", field)
    return require_resource_id(identity, field)


def batch_name(pool: str, platform: str, batch_id: str) -> str:
    """`pools/{pool}/batches/{platform}~{batch_id}`."""
    return f"pools/{pool}/batches/{platform}~{batch_id}"


def parse_batch_name(name: str, field: str) -> tuple[str, str, str]:
    """Returns pool, platform and batch id of a batch's name."""
    pool, both = ids_in(name, "pools/*/batches/*", field)
    platform, _, batch_id = both.partition("~")
    return pool, require_resource_id(platform, field), require_request_id(batch_id, field)


def parse_account_name(name: str, field: str) -> tuple[str, str]:
    """Returns pool and account of an account's name; an account's name may contain a slash."""
    head, marker, account = name.partition("/accounts/")
    if not marker or not account:
        raise InvalidInputError.of(field, "must have the form pools/*/accounts/**, got %(got)r", got=name[:200])
    return only_id(head, "pools", field), account


def page_limit(page_size: int) -> int:
    """Returns the size of a page; 0 asks for the default."""
    return require_range(page_size, "page_size", 0, MAX_PAGE) or DEFAULT_PAGE


def page_token(*place: object) -> str:
    """Returns a token for the page that starts after a place."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def place_in(token: str, *first: Any) -> tuple[Any, ...]:
    """Returns the place in a token, or `first` without a token; each part has the type of its part of `first`."""
    if not token:
        return first
    try:
        place = tuple(json.loads(base64.urlsafe_b64decode(token))) if len(token) <= _MAX_TOKEN else ()
    except (ValueError, TypeError, RecursionError):
        place = ()
    if [type(part) for part in place] != [type(part) for part in first] or not all(map(_is_ours, place)):
        raise InvalidInputError.of("page_token", "is not from a previous page of this list")
    return place


def _is_ours(part: str | int) -> bool:
    """Returns whether a token of ours may contain this: names are ASCII, and places in lists are 64-bit integers."""
    return part.isascii() and part.isprintable() if isinstance(part, str) else -1 <= part < 2**63 - MAX_PAGE
