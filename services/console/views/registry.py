"""The registry: collectives, platforms, people, keys and controls."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from ledger.errors import InvalidInputError
from moiety.v1 import registry_pb2 as pb
from services.access.keys import Role
from services.console.calls import said
from services.console.formats import PPM
from services.console.forms import REFUSED, parts_of
from services.console.views.pools import PAGE, everything
from services.console.visit import PageMissingError, Visit, go


def collectives(visit: Visit, *, problem: str = "") -> Response:
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
    identity = visit.form.get("id", "").strip()
    try:
        request = pb.CreateCollectiveRequest(collective_id=identity, collective=_collective(visit))
        answer = visit.call("RegistryService/CreateCollective", request)
    except REFUSED as error:
        return collectives(visit, problem=said(error, visit.request_id))
    return _after(answer, f"/registry/collectives/{identity}")


def collective(visit: Visit, *, problem: str = "") -> Response:
    """One collective, with a form to change it."""
    visit.shown["base"] = "/registry"
    found = visit.call(
        "RegistryService/GetCollective", pb.GetCollectiveRequest(name=f"collectives/{visit.ids['collective']}")
    )
    return visit.page("collective.html", 409 if problem else 200, found=found, problem=problem)


def change_collective(visit: Visit) -> Response:
    """Change a collective, or propose it."""
    name = f"collectives/{visit.ids['collective']}"
    try:
        changed = _collective(visit)
        changed.name = name
        answer = visit.call("RegistryService/UpdateCollective", pb.UpdateCollectiveRequest(collective=changed))
    except REFUSED as error:
        return collective(visit, problem=said(error, visit.request_id))
    return _after(answer, f"/registry/{name}")


def _collective(visit: Visit) -> pb.Collective:
    members = visit.form.get("members", "").strip() or "0"
    if not (members.isascii() and members.isdecimal()):
        raise InvalidInputError.of("members", "must be a whole number")
    return pb.Collective(
        display_name=visit.form.get("display_name", "").strip(),
        members=min(int(members[:20]), 2**62),
        equity_ppm=parts_of(visit.form.get("equity", "1"), "equity", PPM),
        status=pb.COLLECTIVE_STATUS_SUSPENDED
        if visit.form.get("status") == "SUSPENDED"
        else pb.COLLECTIVE_STATUS_ACTIVE,
        domains=visit.form.get("domains", "").split(),
    )


def platforms(visit: Visit) -> Response:
    """All platforms."""
    visit.shown["base"] = "/registry"
    request = pb.ListPlatformsRequest(page_size=PAGE, page_token=visit.query.get("after", ""))
    answer = visit.call("RegistryService/ListPlatforms", request)
    return visit.page("platforms.html", platforms=answer.platforms, more=answer.next_page_token)


def people(visit: Visit, *, problem: str = "") -> Response:
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
        problem=problem,
    )


def change_people(visit: Visit) -> Response:
    """Register, suspend or readmit a person, issue a key by its hash, or end one."""
    made: dict[str, tuple[str, Any]] = {
        "person": (
            "UpdatePrincipal",
            pb.UpdatePrincipalRequest(
                principal=pb.Principal(
                    name=visit.form.get("name", "").strip(),
                    status=pb.PRINCIPAL_STATUS_SUSPENDED
                    if visit.form.get("status") == "SUSPENDED"
                    else pb.PRINCIPAL_STATUS_ACTIVE,
                )
            ),
        ),
        "issue": (
            "CreateApiKey",
            pb.CreateApiKeyRequest(api_key=_key(visit), hash=visit.form.get("hash", "").strip()),
        ),
        "revoke": ("RevokeApiKey", pb.RevokeApiKeyRequest(name=visit.form.get("name", ""))),
    }
    wanted = visit.form.get("act", "")
    if wanted not in made:
        raise PageMissingError
    method, request = made[wanted]
    try:
        answer = visit.call(f"RegistryService/{method}", request)
    except REFUSED as error:
        return people(visit, problem=said(error, visit.request_id))
    return go("/people", done="proposed" if getattr(answer, "proposal", "") else "saved")


def _key(visit: Visit) -> pb.ApiKey:
    key = pb.ApiKey(principal=visit.form.get("name", "").strip())
    if visit.form.get("kind") == "IDENTITY" and visit.openid is not None:
        key.kind, key.issuer = pb.KEY_KIND_IDENTITY, visit.openid.issuer
    return key


def may_change(visit: Visit) -> bool:
    """Whether the visitor may act, rather than read."""
    return visit.role is Role.OPERATOR


def _after(answer: Any, path: str) -> Response:
    return go(f"/{answer.proposal}", done="proposed") if answer.proposal else go(path, done="saved")
