"""Platforms, collectives and API keys as messages, and back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC

from ledger.acts.contacts import Contact
from ledger.acts.controls import Controls
from ledger.acts.entries import KeyKind, PrincipalStatus
from ledger.acts.people import People, Person
from ledger.errors import InvalidInputError, Sentence
from ledger.registry import MAX_NAMED, PPM, Collective, CollectiveStatus, Platform
from ledger.store.desk.contacts import KeptContact
from moiety import DomainMap, InvalidDomainError
from moiety.v1 import registry_pb2
from services.access.keys import ApiKey, Principal, is_issuer
from services.api.convert.common import enum_name, timestamp
from services.api.etags import etag_of
from services.api.names import only_id


def platform_to_proto(platform: Platform) -> registry_pb2.Platform:
    return registry_pb2.Platform(
        name=f"platforms/{platform.name}",
        display_name=platform.display_name,
        create_time=timestamp(platform.created_at),
    )


def platform_from_proto(platform_id: str, message: registry_pb2.Platform) -> Platform:
    return Platform(platform_id, message.display_name)


def contact_to_proto(kept: KeptContact) -> registry_pb2.Contact:
    return registry_pb2.Contact(
        name=f"{kept.principal}/contact",
        email=kept.contact.email,
        language=kept.contact.language,
        contact_hash=kept.contact_hash,
        leaf_index=kept.leaf_index,
        create_time=timestamp(kept.created_at),
        unsubscribe_time=timestamp(kept.unsubscribed_at),
    )


def proposed_contact_to_proto(principal: str, contact: Contact) -> registry_pb2.Contact:
    return registry_pb2.Contact(name=f"{principal}/contact", email=contact.email, language=contact.language)


def contact_from_proto(message: registry_pb2.Contact) -> Contact:
    return Contact(message.email, message.language or "en")


def collective_to_proto(collective: Collective) -> registry_pb2.Collective:
    return registry_pb2.Collective(
        name=f"collectives/{collective.name}",
        display_name=collective.display_name,
        members=collective.members,
        equity_ppm=collective.equity_ppm,
        status=registry_pb2.CollectiveStatus.Value(f"COLLECTIVE_STATUS_{collective.status.value}"),
        domains=collective.domains,
        create_time=timestamp(collective.created_at),
        etag=etag_of(
            collective.display_name,
            collective.members,
            collective.equity_ppm,
            collective.status.value,
            collective.domains,
        ),
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
    """Returns domains, sorted and without repetitions.

    Raises:
        InvalidInputError: one is not a domain, or is not in canonical form.
    """
    for place, domain in enumerate(declared):
        field = f"collective.domains[{place}]"
        try:
            (canonical,) = DomainMap({collective_id: [domain]}).domains_of(collective_id)
        except InvalidDomainError as error:
            raise InvalidInputError.of(field, "%(got)r %(why)s", got=domain[:80], why=Sentence(error.reason)) from None
        if domain != canonical:
            raise InvalidInputError.of(
                field, "must be written %(canonical)r, got %(got)r", canonical=canonical, got=domain
            )
    return tuple(sorted(set(declared)))


def api_key_from_proto(key_id: str, message: registry_pb2.ApiKey) -> ApiKey:
    """Returns the key that a caller asks for, with this id.

    Raises:
        InvalidInputError: the principal or a pool has an invalid name.
    """
    if len(message.pools) > MAX_NAMED:
        raise InvalidInputError.of(
            "api_key.pools", "must be at most %(most)s, got %(got)s", most=MAX_NAMED, got=len(message.pools)
        )
    pools = tuple(only_id(name, "pools", "api_key.pools") for name in message.pools)
    expires_at = message.expire_time.ToDatetime(UTC) if message.HasField("expire_time") else None
    principal = Principal.parse(message.principal).name
    kind = KeyKind(enum_name(registry_pb2.KeyKind, message.kind, "SECRET", "api_key.kind"))
    if bool(message.issuer) != (kind is KeyKind.IDENTITY):
        raise InvalidInputError.of("api_key.issuer", "is required for an identity, and for no other key")
    if message.issuer and not is_issuer(message.issuer):
        raise InvalidInputError.of("api_key.issuer", "must be the https address of an OpenID provider")
    return ApiKey(key_id, principal, None, expires_at=expires_at, pools=pools, kind=kind, issuer=message.issuer)


def api_key_to_proto(key: ApiKey) -> registry_pb2.ApiKey:
    return registry_pb2.ApiKey(
        name=f"keys/{key.key_id}",
        principal=key.principal,
        create_time=timestamp(key.created_at),
        revoke_time=timestamp(key.revoked_at),
        expire_time=timestamp(key.expires_at),
        begin_time=timestamp(key.begins_at),
        pools=[f"pools/{pool}" for pool in key.pools],
        kind=registry_pb2.KeyKind.Value(f"KEY_KIND_{key.kind.value}"),
        issuer=key.issuer,
    )


def status_of(message: registry_pb2.Principal) -> PrincipalStatus:
    """Returns the status that a principal is to have; ACTIVE if none is given."""
    return PrincipalStatus(enum_name(registry_pb2.PrincipalStatus, message.status, "ACTIVE", "principal.status"))


def person_to_proto(person: Person) -> registry_pb2.Principal:
    return registry_pb2.Principal(
        name=person.name,
        status=registry_pb2.PrincipalStatus.Value(f"PRINCIPAL_STATUS_{person.status.value}"),
        registered_alone=person.alone,
        leaf_index=person.since,
    )


def controls_from_proto(message: registry_pb2.Controls) -> Controls:
    return Controls(**{name: getattr(message, name) for name in Controls.model_fields})


def controls_to_proto(people: People) -> registry_pb2.Controls:
    return registry_pb2.Controls(
        **people.controls.model_dump(),
        founders=people.founders,
        keys_made_together=people.keys_made_together,
        recoveries=people.recoveries,
        etag=controls_etag(people.controls),
    )


def controls_etag(controls: Controls) -> str:
    return etag_of(controls.model_dump())
