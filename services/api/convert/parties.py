"""Platforms, collectives and API keys as messages, and back."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.errors import InvalidInputError
from ledger.registry import PPM, Collective, CollectiveStatus, Platform
from moiety import DomainMap, InvalidDomainError
from moiety.v1 import registry_pb2
from services.access.keys import ApiKey
from services.api.convert.common import enum_name, timestamp


def platform_to_proto(platform: Platform) -> registry_pb2.Platform:
    return registry_pb2.Platform(
        name=f"platforms/{platform.name}",
        display_name=platform.display_name,
        create_time=timestamp(platform.created_at),
    )


def platform_from_proto(platform_id: str, message: registry_pb2.Platform) -> Platform:
    return Platform(platform_id, message.display_name)


def collective_to_proto(collective: Collective) -> registry_pb2.Collective:
    return registry_pb2.Collective(
        name=f"collectives/{collective.name}",
        display_name=collective.display_name,
        members=collective.members,
        equity_ppm=collective.equity_ppm,
        status=registry_pb2.CollectiveStatus.Value(f"COLLECTIVE_STATUS_{collective.status.value}"),
        domains=collective.domains,
        create_time=timestamp(collective.created_at),
    )


def collective_from_proto(collective_id: str, message: registry_pb2.Collective) -> Collective:
    status = enum_name(registry_pb2.CollectiveStatus, message.status, "ACTIVE", "collective.status")
    return Collective(
        collective_id,
        message.display_name,
        members=message.members,
        equity_ppm=message.equity_ppm if message.HasField("equity_ppm") else PPM,
        status=CollectiveStatus(status),
        domains=_domains(collective_id, message.domains),
    )


def _domains(collective_id: str, declared: Sequence[str]) -> tuple[str, ...]:
    """Domains, sorted and each once.

    Raises:
        InvalidInputError: one is not a domain, or is not written in its one way.
    """
    for place, domain in enumerate(declared):
        field = f"collective.domains[{place}]"
        try:
            (canonical,) = DomainMap({collective_id: [domain]}).domains_of(collective_id)
        except InvalidDomainError as error:
            raise InvalidInputError.of(field, f"{domain[:80]!r} {error.reason}") from None
        if domain != canonical:
            raise InvalidInputError.of(field, f"must be written {canonical!r}, is {domain!r}")
    return tuple(sorted(set(declared)))


def api_key_to_proto(key: ApiKey) -> registry_pb2.ApiKey:
    return registry_pb2.ApiKey(
        name=f"keys/{key.key_id}",
        principal=key.principal,
        create_time=timestamp(key.created_at),
        revoke_time=timestamp(key.revoked_at),
    )
