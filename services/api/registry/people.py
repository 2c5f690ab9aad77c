"""Who may act, of the registry service: keys, operators and auditors, controls, and the witnesses of time."""

from __future__ import annotations

from typing import Final

import grpc

from ledger.acts.entries import ControlsContent, KeyContent, KeyRevocationContent, PrincipalContent, WitnessesContent
from ledger.errors import InvalidInputError, NotFoundError
from ledger.store.logs.log import REGISTRY
from ledger.store.postgres.database import Database
from ledger.store.registry.acts import Acts, look_alone
from ledger.store.registry.people import read_people
from moiety.v1 import registry_pb2 as pb
from services.access import keys
from services.access.keyring import KeyRing
from services.access.keys import Principal, Role
from services.access.permissions import actor
from services.api import convert
from services.api.etags import require_unchanged
from services.api.names import ids_in, page_limit, place_in
from services.api.outcomes import told
from services.api.pages import page_of

MAX_WITNESSES_BYTES: Final = 2**15
"""The longest witness policy: it must fit in an entry, of 65,535 bytes."""


class PeopleMethods:
    """The part of the registry service that says who may act, and how many it takes."""

    _database: Database
    _acts: Acts
    _keyring: KeyRing

    def CreateApiKey(self, request: pb.CreateApiKeyRequest, context: grpc.ServicerContext) -> pb.ApiKey:
        key_id, secret_hash = keys.parse_hash(request.hash, "hash")
        wanted = convert.api_key_from_proto(key_id, request.api_key)
        content = KeyContent(
            key_id=key_id,
            principal=wanted.principal,
            secret_hash=secret_hash,
            expires_at=wanted.expires_at.isoformat().replace("+00:00", "Z") if wanted.expires_at else "",
            pools=list(wanted.pools),
            key_kind=wanted.kind.value,
            issuer=wanted.issuer,
        )
        with self._database.transaction() as connection:
            outcome = self._acts.perform(connection, REGISTRY, content, actor())
        return told(outcome, convert.api_key_to_proto, wanted)

    def ListApiKeys(self, request: pb.ListApiKeysRequest, context: grpc.ServicerContext) -> pb.ListApiKeysResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, "")
        with self._database.transaction() as connection:
            found = keys.list_keys(connection, after=after, limit=limit)
        listed, token = page_of(found, limit, convert.api_key_to_proto, lambda key: (key.key_id,))
        return pb.ListApiKeysResponse(api_keys=listed, next_page_token=token)

    def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, context: grpc.ServicerContext) -> pb.ApiKey:
        (key_id,) = ids_in(request.name, "keys/*", "name")
        if not keys.is_key_id(key_id):
            raise NotFoundError(request.name[:100])
        with self._database.transaction() as connection:
            outcome = self._acts.perform(connection, REGISTRY, KeyRevocationContent(key_id=key_id), actor())
        self._keyring.forget()
        return convert.api_key_to_proto(outcome.done)

    def UpdatePrincipal(self, request: pb.UpdatePrincipalRequest, context: grpc.ServicerContext) -> pb.Principal:
        principal = Principal.parse(request.principal.name, "principal.name")
        if principal.role not in (Role.OPERATOR, Role.AUDITOR):
            raise InvalidInputError.of("principal.name", "must name an operator or auditor")
        content = PrincipalContent(principal=principal.name, status=convert.status_of(request.principal).value)
        with self._database.transaction() as connection:
            outcome = self._acts.perform(connection, REGISTRY, content, actor())
        self._keyring.forget()
        return told(outcome, convert.person_to_proto, request.principal)

    def ListPrincipals(
        self, request: pb.ListPrincipalsRequest, context: grpc.ServicerContext
    ) -> pb.ListPrincipalsResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, "")
        with self._database.transaction() as connection:
            persons = read_people(connection).persons
        found = [persons[name] for name in sorted(persons) if name > after][:limit]
        listed, token = page_of(found, limit, convert.person_to_proto, lambda person: (person.name,))
        return pb.ListPrincipalsResponse(principals=listed, next_page_token=token)

    def GetControls(self, request: pb.GetControlsRequest, context: grpc.ServicerContext) -> pb.Controls:
        with self._database.transaction() as connection:
            return convert.controls_to_proto(read_people(connection))

    def UpdateControls(self, request: pb.UpdateControlsRequest, context: grpc.ServicerContext) -> pb.Controls:
        controls = convert.controls_from_proto(request.controls).require_sound()
        with self._database.transaction() as connection:
            look_alone(connection)
            found = convert.controls_etag(read_people(connection).controls)
            require_unchanged("registry/controls", request.controls.etag, found, convert.controls_etag(controls))
            outcome = self._acts.perform(connection, REGISTRY, ControlsContent(controls=controls), actor())
        return told(outcome, convert.controls_to_proto, request.controls)

    def GetTimingWitnesses(
        self, request: pb.GetTimingWitnessesRequest, context: grpc.ServicerContext
    ) -> pb.TimingWitnesses:
        with self._database.transaction() as connection:
            return pb.TimingWitnesses(policy=read_people(connection).witnesses)

    def UpdateTimingWitnesses(
        self, request: pb.UpdateTimingWitnessesRequest, context: grpc.ServicerContext
    ) -> pb.TimingWitnesses:
        policy = request.witnesses.policy
        if len(policy.encode()) > MAX_WITNESSES_BYTES:
            raise InvalidInputError.of("witnesses.policy", "must have at most %(most)s bytes", most=MAX_WITNESSES_BYTES)
        with self._database.transaction() as connection:
            outcome = self._acts.perform(connection, REGISTRY, WitnessesContent(policy=policy), actor())
        return told(outcome, lambda found: pb.TimingWitnesses(policy=found), request.witnesses)
