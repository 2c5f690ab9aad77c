"""Where people are written to: shown to whoever may know it, and set by a form that proposes where two are needed."""

from __future__ import annotations

from google.protobuf.message import Message

from ledger.errors import NotFoundError
from moiety.v1 import registry_pb2 as pb
from services.console.forms import text_of
from services.console.visit import Visit


def contact_of(visit: Visit, principal: str) -> pb.Contact:
    """Returns where somebody is written to; without an address where nobody said."""
    name = f"{principal}/contact"
    try:
        found: pb.Contact = visit.call("RegistryService/GetContact", pb.GetContactRequest(name=name))
    except NotFoundError:
        return pb.Contact(name=name, language=visit.tongue.language)
    return found


def wanted_contact(visit: Visit, principal: str) -> tuple[str, Message]:
    """Returns the call that sets what the form says, which is `parts.contact_fields`."""
    contact = pb.Contact(
        name=f"{principal}/contact", email=text_of(visit, "email"), language=text_of(visit, "language")
    )
    return "RegistryService/SetContact", pb.SetContactRequest(contact=contact)
