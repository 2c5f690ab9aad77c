"""Collectives as the registry's log has them: the entry, and the body with the domains."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from ledger.acts.entries import CollectiveContent
from ledger.errors import InvalidInputError
from ledger.registry import MAX_DOMAIN_BYTES, MAX_DOMAINS, Collective, CollectiveStatus, is_domain

MAX_DOMAINS_BYTES: Final = MAX_DOMAINS * (MAX_DOMAIN_BYTES + 1)
"""Of the body with a collective's domains."""

_STATUSES: Final = {status.value: status for status in CollectiveStatus}


def render_domains(names: Iterable[str]) -> bytes:
    """A collective's domains as a body: a line for each, sorted."""
    return "".join(f"{name}\n" for name in sorted(names)).encode()


def collective_content(collective: Collective) -> CollectiveContent:
    """What the registry's log says of a collective."""
    return CollectiveContent(
        collective=collective.name,
        display_name=collective.display_name,
        members=collective.members,
        equity_ppm=collective.equity_ppm,
        status=collective.status.value,
        domains_sha256=sha256(render_domains(collective.domains)).hexdigest(),
    )


def collective_of(content: CollectiveContent, domains_body: bytes) -> Collective:
    """The collective of which the registry's log says this; `domains_body` is the body that the content commits to.

    Raises:
        InvalidInputError: there can be no such collective, or the body is not one that `render_domains` makes.
    """
    if content.status not in _STATUSES:
        raise InvalidInputError.of("collective.status", "is not a status: %(got)r", got=content.status[:80])
    domains = _domains_of(domains_body) if domains_body else ()
    return Collective(
        content.collective,
        content.display_name,
        content.members,
        content.equity_ppm,
        _STATUSES[content.status],
        domains,
    )


def _domains_of(body: bytes) -> tuple[str, ...]:
    try:
        domains = tuple(body.decode().removesuffix("\n").split("\n"))
    except UnicodeDecodeError:
        raise InvalidInputError.of("collective.domains", "are not UTF-8") from None
    if render_domains(set(domains)) != body:
        raise InvalidInputError.of("collective.domains", "must be one a line, sorted, none twice")
    for domain in domains:
        if not is_domain(domain):
            raise InvalidInputError.of("collective.domains", "has a line that is no domain: %(got)r", got=domain[:80])
    return domains
