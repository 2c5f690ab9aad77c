"""Where operators and collectives are written to, of the registry service."""

from __future__ import annotations

import secrets
from typing import Final

import grpc

from ledger.acts.act import COLLECTIVES, OPERATORS
from ledger.acts.entries import ContactContent
from ledger.errors import InvalidInputError, NotFoundError
from ledger.registry import require_resource_id
from ledger.store.desk import contacts
from ledger.store.logs.log import REGISTRY
from ledger.store.postgres.database import Database
from ledger.store.postgres.transactions import read_time
from ledger.store.registry.acts import Acts, look_alone
from ledger.store.registry.proposals import get_proposal
from moiety.v1 import registry_pb2 as pb
from services.access.keys import Role
from services.access.permissions import actor, require_own
from services.api import convert
from services.api.names import ids_in
from services.api.outcomes import told
from services.api.resources import proposal_in

SALT_BYTES: Final = 32


class ContactMethods:
    """The part of the registry service that says where mail goes."""

    _database: Database
    _acts: Acts

    def SetContact(self, request: pb.SetContactRequest, context: grpc.ServicerContext) -> pb.Contact:
        principal = _principal_in(request.contact.name, "contact.name")
        contact = convert.contact_from_proto(request.contact)
        with self._database.transaction() as connection:
            look_alone(connection)
            standing = contacts.find_contact(connection, principal)
            if standing is not None and standing.contact == contact:
                return convert.contact_to_proto(standing)
            salt, now = secrets.token_bytes(SALT_BYTES), read_time(connection)
            contact_hash = contacts.propose_contact(connection, principal, contact, salt, now)
            content = ContactContent(principal=principal, contact_hash=contact_hash.hex())
            outcome = self._acts.perform(connection, REGISTRY, content, actor())
        return told(outcome, convert.contact_to_proto, request.contact)

    def GetContact(self, request: pb.GetContactRequest, context: grpc.ServicerContext) -> pb.Contact:
        principal = _principal_in(request.name, "name")
        with self._database.transaction() as connection:
            found = contacts.find_contact(connection, principal)
        if found is None:
            raise NotFoundError(request.name)
        return convert.contact_to_proto(found)

    def GetProposedContact(
        self, request: pb.GetProposedContactRequest, context: grpc.ServicerContext
    ) -> pb.ProposedContact:
        with self._database.transaction() as connection:
            pool, leaf_index = proposal_in(connection, request.name, "name")
            act = self._acts.proposed_act(get_proposal(connection, pool, leaf_index))
            if not isinstance(act, ContactContent):
                raise InvalidInputError.of("name", "must be of a proposal for a contact")
            standing = contacts.find_contact(connection, act.principal)
            proposed = contacts.read_contact(connection, bytes.fromhex(act.contact_hash))
        return pb.ProposedContact(
            standing=None if standing is None else convert.contact_to_proto(standing),
            proposed=None if proposed is None else convert.proposed_contact_to_proto(act.principal, proposed),
        )


def _principal_in(name: str, field: str) -> str:
    """The operator or collective in a contact's name, if the caller may see and set it."""
    if name.startswith(OPERATORS):
        (identity,) = ids_in(name, "operators/*/contact", field)
        require_own(Role.COLLECTIVE, "", name)
        return OPERATORS + require_resource_id(identity, field)
    (identity,) = ids_in(name, "collectives/*/contact", field)
    require_own(Role.COLLECTIVE, identity, name)
    return COLLECTIVES + require_resource_id(identity, field)
