"""The registry: collectives, platforms, people, keys and controls."""

from __future__ import annotations

import re
from typing import Any, Final

from google.protobuf.message import Message
from starlette.responses import Response

from ledger.errors import InvalidInputError
from moiety.keys import make_key
from moiety.v1 import registry_pb2 as pb
from services.access.keys import Role
from services.console.formats import PPM
from services.console.forms import MOST_PPM, REFUSED, Made, acted, choice_of, parts_of, required_of, text_of
from services.console.views.contacts import contact_of, wanted_contact
from services.console.views.pools import PAGE, everything
from services.console.visit import Problem, Visit, go

_MEMBERS: Final = re.compile("[0-9]{1,18}")
_COLLECTIVE: Final = {"ACTIVE": pb.COLLECTIVE_STATUS_ACTIVE, "SUSPENDED": pb.COLLECTIVE_STATUS_SUSPENDED}
_PERSON: Final = {"ACTIVE": pb.PRINCIPAL_STATUS_ACTIVE, "SUSPENDED": pb.PRINCIPAL_STATUS_SUSPENDED}

CERTIFICATE_BYTES: Final = 64 * 1024
"""Of a file with a certificate, what is looked at: hashes of certificates are kept with the files."""


def collectives(visit: Visit, *, problem: Problem = "") -> Response:
    """All collectives, with a form for another."""
    visit.shown["base"] = "/registry"
    request = pb.ListCollectivesRequest(page_size=PAGE, page_token=visit.query.get("after", ""))
    answer = visit.call("RegistryService/ListCollectives", request)
    return visit.page(
        "registry.html", 409 if problem else 200, collectives=answer.collectives, more=answer.next_page_token,
        problem=problem,
    )  # fmt: skip


def register_collective(visit: Visit) -> Response:
    """Register a collective, or propose it."""
    identity = text_of(visit, "id")
    try:
        request = pb.CreateCollectiveRequest(collective_id=identity, collective=_collective(visit))
        answer = visit.call("RegistryService/CreateCollective", request)
    except REFUSED as error:
        return collectives(visit, problem=error)
    return _after(answer, f"/registry/collectives/{identity}")


def collective(visit: Visit, *, problem: Problem = "") -> Response:
    """One collective, with a form to change it."""
    visit.shown["base"] = "/registry"
    found = visit.call(
        "RegistryService/GetCollective", pb.GetCollectiveRequest(name=f"collectives/{visit.ids['collective']}")
    )
    contact = contact_of(visit, found.name) if visit.role is Role.OPERATOR else None
    return visit.page("collective.html", 409 if problem else 200, found=found, contact=contact, problem=problem)


def change_collective(visit: Visit) -> Response:
    """Change a collective, or where it is written to; or propose it."""
    name = f"collectives/{visit.ids['collective']}"
    if visit.form.get("act") == "contact":
        acts = {"contact": lambda: wanted_contact(visit, name)}
        return acted(visit, acts, f"/registry/{name}", lambda problem: collective(visit, problem=problem))
    try:
        changed = _collective(visit)
        changed.name = name
        changed.etag = text_of(visit, "etag")
        answer = visit.call("RegistryService/UpdateCollective", pb.UpdateCollectiveRequest(collective=changed))
    except REFUSED as error:
        return collective(visit, problem=error)
    return _after(answer, f"/registry/{name}")


def _collective(visit: Visit) -> pb.Collective:
    members = required_of(visit, "members").strip()
    if not _MEMBERS.fullmatch(members):
        raise InvalidInputError.of("members", "must be a whole number of at most 18 digits")
    return pb.Collective(
        display_name=text_of(visit, "display_name"),
        members=int(members),
        equity_ppm=parts_of(required_of(visit, "equity"), "equity", PPM, most=MOST_PPM),
        status=choice_of(visit, "status", _COLLECTIVE),
        domains=required_of(visit, "domains").split(),
    )


def platforms(visit: Visit) -> Response:
    """All platforms."""
    visit.shown["base"] = "/registry"
    request = pb.ListPlatformsRequest(page_size=PAGE, page_token=visit.query.get("after", ""))
    answer = visit.call("RegistryService/ListPlatforms", request)
    return visit.page("platforms.html", platforms=answer.platforms, more=answer.next_page_token)


def people(visit: Visit, *, problem: Problem = "") -> Response:
    """Operators and auditors, the controls, and keys."""
    visit.shown["base"] = "/registry"
    persons = everything(visit, "RegistryService/ListPrincipals", pb.ListPrincipalsRequest(), "principals", 200)
    keys = visit.call(
        "RegistryService/ListApiKeys",
        pb.ListApiKeysRequest(page_size=PAGE, page_token=visit.query.get("after", "")),
    )
    return visit.page(
        "people.html",
        409 if problem else 200,
        persons=persons,
        controls=visit.call("RegistryService/GetControls", pb.GetControlsRequest()),
        keys=keys.api_keys,
        more=keys.next_page_token,
        contact=contact_of(visit, visit.caller.principal.name) if visit.role is Role.OPERATOR else None,
        problem=problem,
    )


def change_people(visit: Visit) -> Response:
    """Register, suspend or readmit a person, issue or end a key, or say where an operator is written to."""

    def person(status: pb.PrincipalStatus.ValueType) -> tuple[str, Message]:
        principal = pb.Principal(name=text_of(visit, "name"), status=status)
        return "RegistryService/UpdatePrincipal", pb.UpdatePrincipalRequest(principal=principal)

    acts: dict[str, Made] = {
        "register": lambda: person(pb.PRINCIPAL_STATUS_ACTIVE),
        "person": lambda: person(choice_of(visit, "status", _PERSON)),
        "issue": lambda: ("RegistryService/CreateApiKey", _issued(visit)),
        "certificate": lambda: ("RegistryService/CreateApiKey", _certified(visit)),
        "revoke": lambda: ("RegistryService/RevokeApiKey", pb.RevokeApiKeyRequest(name=visit.form.get("name", ""))),
        "contact": lambda: wanted_contact(visit, text_of(visit, "name")),
    }
    return acted(visit, acts, "/people", lambda problem: people(visit, problem=problem))


def _issued(visit: Visit) -> pb.CreateApiKeyRequest:
    """A key by the hash of its secret, or of an account at the provider."""
    key = pb.ApiKey(principal=text_of(visit, "name"))
    if visit.form.get("kind") == "IDENTITY" and visit.openid is not None:
        key.kind, key.issuer = pb.KEY_KIND_IDENTITY, visit.openid.issuer
    return pb.CreateApiKeyRequest(api_key=key, hash=text_of(visit, "hash"))


def _certified(visit: Visit) -> pb.CreateApiKeyRequest:
    """A client certificate as a key.

    Raises:
        InvalidInputError: the file is no certificate.
    """
    from services.access.certificates import certificate_hash  # noqa: PLC0415  # what it loads is seldom needed

    file = visit.files.get("certificate")
    hash_ = certificate_hash(file.content[:CERTIFICATE_BYTES] if file else b"")
    key = pb.ApiKey(principal=text_of(visit, "name"), kind=pb.KEY_KIND_CERTIFICATE)
    return pb.CreateApiKeyRequest(api_key=key, hash=f"{make_key().key_id}:{hash_}")


def may_change(visit: Visit) -> bool:
    """Whether the visitor may act, rather than read."""
    return visit.role is Role.OPERATOR


def _after(answer: Any, path: str) -> Response:
    return go(f"/{answer.proposal}", done="proposed") if answer.proposal else go(path, done="saved")
