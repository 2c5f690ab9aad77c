"""The registry service."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Final

import grpc
import sqlalchemy as sa

from ledger.acts.collectives import collective_content, render_domains
from ledger.acts.entries import (
    COLLECTIVES,
    OPERATORS,
    ContactContent,
    ControlsContent,
    KeyContent,
    KeyRevocationContent,
    PlatformContent,
    PoolOpenedContent,
    PrincipalContent,
    WitnessesContent,
)
from ledger.errors import AlreadyExistsError, InvalidInputError, NotFoundError
from ledger.money import minor_unit_exponent
from ledger.registry import MAX_DISPLAY_NAME, Collective, require_range, require_resource_id, require_text
from ledger.store import domains, log, memberships, methods, notices, registry
from ledger.store.acts import REGISTRY, look_alone, read_people
from ledger.store.admissions import admitted_platforms
from ledger.store.log import PoolRef
from ledger.store.memberships import RecordedMembership
from ledger.store.transactions import read_time
from ledger.store.usage import closing
from ledger.usage.entries import AdmissionContent, ClosingContent
from ledger.usage.methods import content_of
from moiety.v1 import registry_pb2 as pb
from moiety.v1 import registry_pb2_grpc
from payout.entries import PolicyContent
from payout.schedule import require_cron
from payout.store import pools
from services.access import keys
from services.access.keys import Principal, Role
from services.access.permissions import actor, caller, open_pools, own_id, require_own, require_pool
from services.api import convert
from services.api.chunks import chunks
from services.api.etags import require_unchanged
from services.api.names import ids_in, only_id, page_limit, place_in
from services.api.outcomes import told
from services.api.pages import page_of
from services.parts import Parts

MAX_PLATFORMS_AT_OPENING: Final = 500
"""Platforms that a pool admits as it is opened: their ids must fit in one entry, of 65,535 bytes."""

SALT_BYTES: Final = 32

MAX_LEAF: Final = 2**62

MAX_WITNESSES_BYTES: Final = 2**15
"""The longest witness policy: it must fit in an entry, of 65,535 bytes."""

MAX_VERSION: Final = 2**31 - 1
"""The highest number that fits in the contract and the tables."""


def pool_of(connection: sa.Connection, name: str, field: str) -> PoolRef:
    """Returns the pool named `pools/{pool}`, if the caller's key gives access to it."""
    pool_id = only_id(name, "pools", field)
    require_pool(pool_id)
    return registry.pool_ref(connection, pool_id)


def log_of(connection: sa.Connection, name: str, field: str) -> PoolRef:
    """Returns the pool named `pools/{pool}`, or the `registry`."""
    return REGISTRY if name == REGISTRY.name else pool_of(connection, name, field)


def proposal_in(connection: sa.Connection, name: str, field: str) -> tuple[PoolRef, int]:
    """Returns the log and the leaf in a proposal's name."""
    if name.startswith(f"{REGISTRY.name}/"):
        (leaf,) = ids_in(name, f"{REGISTRY.name}/proposals/*", field)
        pool = REGISTRY
    else:
        pool_id, leaf = ids_in(name, "pools/*/proposals/*", field)
        pool = log_of(connection, f"pools/{pool_id}", field)
    return pool, require_range(int(leaf) if leaf.isdecimal() else -1, field, 0, MAX_LEAF)


def _require_new(connection: sa.Connection, collective: Collective) -> None:
    """Check that a collective is not registered with other content.

    Raises:
        AlreadyExistsError: it is.
    """
    for found in registry.list_collectives(connection, only=collective.name, limit=1):
        if replace(found, created_at=None) != replace(collective, created_at=None):
            raise AlreadyExistsError(f"collectives/{collective.name}")


def _platforms_of(pool: pb.Pool) -> list[str]:
    """Returns the ids of the platforms that a new pool admits, sorted."""
    if len(pool.platforms) > MAX_PLATFORMS_AT_OPENING:
        reason = f"must be at most {MAX_PLATFORMS_AT_OPENING}; admit the others afterwards"
        raise InvalidInputError.of("pool.platforms", reason)
    ids = {only_id(name, "platforms", f"pool.platforms[{place}]") for place, name in enumerate(pool.platforms)}
    return sorted(ids)


class RegistryService(registry_pb2_grpc.RegistryServiceServicer):
    """Platforms, collectives, pools, policies, methods, memberships, schedules and API keys."""

    def __init__(self, parts: Parts) -> None:
        self._database = parts.database
        self._keyring = parts.keyring
        self._acts, self._heavy = parts.acts, parts.heavy

    def CreatePlatform(self, request: pb.CreatePlatformRequest, context: grpc.ServicerContext) -> pb.Platform:
        platform = convert.platform_from_proto(request.platform_id, request.platform)
        if request.validate_only:
            return convert.platform_to_proto(platform)
        content = PlatformContent(platform=platform.name, display_name=platform.display_name)
        with self._database.transaction() as connection:
            outcome = self._acts.perform(connection, REGISTRY, content, actor())
        return told(outcome, convert.platform_to_proto, platform)

    def GetPlatform(self, request: pb.GetPlatformRequest, context: grpc.ServicerContext) -> pb.Platform:
        platform_id = only_id(request.name, "platforms", "name")
        require_own(Role.PLATFORM, platform_id, request.name)
        with self._database.transaction() as connection:
            return convert.platform_to_proto(registry.get_platform(connection, platform_id))

    def ListPlatforms(
        self, request: pb.ListPlatformsRequest, context: grpc.ServicerContext
    ) -> pb.ListPlatformsResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, "")
        with self._database.transaction() as connection:
            found = registry.list_platforms(connection, after=after, limit=limit, only=own_id(Role.PLATFORM))
        platforms, token = page_of(found, limit, convert.platform_to_proto, lambda platform: (platform.name,))
        return pb.ListPlatformsResponse(platforms=platforms, next_page_token=token)

    def CreateCollective(self, request: pb.CreateCollectiveRequest, context: grpc.ServicerContext) -> pb.Collective:
        collective = convert.collective_from_proto(request.collective_id, request.collective)
        with self._database.transaction() as connection:
            if request.validate_only:
                domains.require_free(connection, collective)
                return convert.collective_to_proto(collective)
            _require_new(connection, collective)
            return self._put(connection, collective)

    def UpdateCollective(self, request: pb.UpdateCollectiveRequest, context: grpc.ServicerContext) -> pb.Collective:
        collective_id = only_id(request.collective.name, "collectives", "collective.name")
        collective = convert.collective_from_proto(collective_id, request.collective)
        wanted = convert.collective_to_proto(collective)
        with self._database.transaction() as connection:
            look_alone(connection)
            found = convert.collective_to_proto(registry.get_collective(connection, collective_id))
            require_unchanged(found.name, request.collective.etag, found.etag, wanted.etag)
            if request.validate_only:
                domains.require_free(connection, collective)
                return wanted
            return self._put(connection, collective)

    def _put(self, connection: sa.Connection, collective: Collective) -> pb.Collective:
        content = collective_content(collective)
        log.put_body(connection, REGISTRY, render_domains(collective.domains))
        outcome = self._acts.perform(connection, REGISTRY, content, actor())
        return told(outcome, convert.collective_to_proto, collective)

    def GetCollective(self, request: pb.GetCollectiveRequest, context: grpc.ServicerContext) -> pb.Collective:
        collective_id = only_id(request.name, "collectives", "name")
        with self._database.transaction() as connection:
            return convert.collective_to_proto(registry.get_collective(connection, collective_id))

    def ListCollectives(
        self, request: pb.ListCollectivesRequest, context: grpc.ServicerContext
    ) -> pb.ListCollectivesResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, "")
        with self._database.transaction() as connection:
            found = registry.list_collectives(connection, after=after, limit=limit)
            collectives, token = page_of(
                found, limit, convert.collective_to_proto, lambda collective: (collective.name,)
            )
        return pb.ListCollectivesResponse(collectives=collectives, next_page_token=token)

    def CreatePool(self, request: pb.CreatePoolRequest, context: grpc.ServicerContext) -> pb.Pool:
        pool_id = require_resource_id(request.pool_id, "pool_id")
        minor_unit_exponent(request.pool.currency, "pool.currency")
        content = PoolOpenedContent(
            pool_id=pool_id,
            display_name=require_text(request.pool.display_name, "pool.display_name", least=1, most=MAX_DISPLAY_NAME),
            currency=request.pool.currency,
            distribute=convert.distribute_of(request.pool.distribute),
            policy=convert.policy_from_proto(request.pool.policy).model_dump(mode="json"),
            platforms=_platforms_of(request.pool),
        )
        if request.validate_only:
            return request.pool
        with self._database.transaction() as connection:
            outcome = self._acts.perform(connection, REGISTRY, content, actor())
            return told(outcome, lambda pool: self._pool(connection, pool), request.pool)

    def GetPool(self, request: pb.GetPoolRequest, context: grpc.ServicerContext) -> pb.Pool:
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.name, "name")
            return self._pool(connection, registry.get_pool(connection, pool.name))

    def ListPools(self, request: pb.ListPoolsRequest, context: grpc.ServicerContext) -> pb.ListPoolsResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, "")
        with self._database.transaction() as connection:
            found = registry.list_pools(connection, after=after, limit=limit, among=open_pools())
            listed, token = page_of(found, limit, partial(self._pool, connection), lambda pool: (pool.ref.name,))
        return pb.ListPoolsResponse(pools=listed, next_page_token=token)

    def _pool(self, connection: sa.Connection, pool: registry.PoolRecord) -> pb.Pool:
        policy = pools.list_policies(connection, pool.ref)[-1]
        platforms = [] if caller().role is Role.COLLECTIVE else admitted_platforms(connection, pool.ref)
        if (own := own_id(Role.PLATFORM)) is not None:
            platforms = [platform for platform in platforms if platform == own]
        return convert.pool_to_proto(pool, policy, closing.closed_at(connection, pool.ref), platforms)

    def AdmitPlatform(self, request: pb.AdmitPlatformRequest, context: grpc.ServicerContext) -> pb.Admission:
        return self._admission(request.pool, request.platform, admitted=True, validate_only=request.validate_only)

    def ExpelPlatform(self, request: pb.ExpelPlatformRequest, context: grpc.ServicerContext) -> pb.Admission:
        return self._admission(request.pool, request.platform, admitted=False)

    def _admission(self, pool_name: str, platform: str, *, admitted: bool, validate_only: bool = False) -> pb.Admission:
        content = AdmissionContent(platform=only_id(platform, "platforms", "platform"), admitted=admitted)
        with self._database.transaction() as connection:
            pool = pool_of(connection, pool_name, "pool")
            registry.get_platform(connection, content.platform)
            if validate_only:
                return convert.admission_to_proto(pool.name, content)
            outcome = self._acts.perform(connection, pool, content, actor())
        return told(outcome, partial(convert.admission_to_proto, pool.name), content)

    def ClosePool(self, request: pb.ClosePoolRequest, context: grpc.ServicerContext) -> pb.Pool:
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.name, "name")
            outcome = self._acts.perform(connection, pool, ClosingContent(), actor())
            found = self._pool(connection, registry.get_pool(connection, pool.name))
        return told(outcome, lambda _: found, found)

    def CreatePolicy(self, request: pb.CreatePolicyRequest, context: grpc.ServicerContext) -> pb.Policy:
        policy = convert.policy_from_proto(request.policy)
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            if request.validate_only:
                return request.policy
            outcome = self._acts.perform(connection, pool, PolicyContent(version=0, policy=policy), actor())
        return told(outcome, convert.policy_to_proto, request.policy)

    def ListPolicies(self, request: pb.ListPoliciesRequest, context: grpc.ServicerContext) -> pb.ListPoliciesResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, 0)
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            found = pools.list_policies(connection, pool, after=after, limit=limit)
        policies, token = page_of(found, limit, convert.policy_to_proto, lambda policy: (policy.version,))
        return pb.ListPoliciesResponse(policies=policies, next_page_token=token)

    def CreateMethod(self, request: pb.CreateMethodRequest, context: grpc.ServicerContext) -> pb.Method:
        method = convert.method_from_proto(request.method_id, request.method)
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            if request.validate_only:
                methods.require_declarable(connection, pool, method)
                return convert.method_to_proto(pool.name, method)
            outcome = self._acts.perform(connection, pool, content_of(method), actor())
        return told(outcome, partial(convert.method_to_proto, pool.name), method)

    def ListMethods(self, request: pb.ListMethodsRequest, context: grpc.ServicerContext) -> pb.ListMethodsResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, -1)
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            found = methods.list_methods(connection, pool, after=after, limit=limit)
        listed, token = page_of(
            found, limit, partial(convert.method_to_proto, pool.name), lambda method: (method.leaf_index,)
        )
        return pb.ListMethodsResponse(methods=listed, next_page_token=token)

    def CreateMembership(self, request: pb.CreateMembershipRequest, context: grpc.ServicerContext) -> pb.Membership:
        with self._heavy.passed(caller().name):
            new = memberships.new_membership(request.membership_id, request.body)
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            memberships.require_registered(connection, new)
            unlogged = RecordedMembership(0, None, new.content())
            if request.validate_only:
                return convert.membership_to_proto(pool.name, unlogged)
            log.put_body(connection, pool, new.body)
            outcome = self._acts.perform(connection, pool, new.content(), actor())
        return told(outcome, partial(convert.membership_to_proto, pool.name), unlogged)

    def ListMemberships(
        self, request: pb.ListMembershipsRequest, context: grpc.ServicerContext
    ) -> pb.ListMembershipsResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, -1)
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            found = memberships.list_memberships(connection, pool, after=after, limit=limit)
        listed, token = page_of(
            found, limit, partial(convert.membership_to_proto, pool.name), lambda recorded: (recorded.leaf_index,)
        )
        return pb.ListMembershipsResponse(memberships=listed, next_page_token=token)

    def GetMembership(
        self, request: pb.GetMembershipRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.GetMembershipResponse]:
        pool_id, name = ids_in(request.name, "pools/*/memberships/*", "name")
        require_resource_id(name, "name")
        version = require_range(request.version, "version", 0, MAX_VERSION)
        with self._database.transaction() as connection:
            pool = pool_of(connection, f"pools/{pool_id}", "name")
            recorded = memberships.get_membership(connection, pool, name, version)
            body = log.checked_body(connection, pool, bytes.fromhex(recorded.content.body_sha256))
        for chunk in chunks(body):
            yield pb.GetMembershipResponse(chunk=chunk)

    def UpdateSchedule(self, request: pb.UpdateScheduleRequest, context: grpc.ServicerContext) -> pb.Schedule:
        schedule = request.schedule
        (pool_id,) = ids_in(schedule.name, "pools/*/schedule", "schedule.name")
        require_cron(schedule.cron, schedule.time_zone)
        with self._database.transaction() as connection:
            pool = pool_of(connection, f"pools/{pool_id}", "schedule.name")
            if schedule.etag:
                log.lock_head(connection, pool)
                found = convert.schedule_to_proto(pools.get_schedule(connection, pool))
                wanted = convert.schedule_etag(schedule.cron, schedule.time_zone, paused=schedule.paused)
                require_unchanged(found.name, schedule.etag, found.etag, wanted)
            if request.validate_only:
                return schedule
            act = pools.schedule_act(connection, pool, schedule.cron, schedule.time_zone, paused=schedule.paused)
            outcome = self._acts.perform(connection, pool, act, actor())
        return told(outcome, convert.schedule_to_proto, schedule)

    def GetSchedule(self, request: pb.GetScheduleRequest, context: grpc.ServicerContext) -> pb.Schedule:
        (pool_id,) = ids_in(request.name, "pools/*/schedule", "name")
        with self._database.transaction() as connection:
            pool = pool_of(connection, f"pools/{pool_id}", "name")
            return convert.schedule_to_proto(pools.get_schedule(connection, pool))

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
        principal = Principal.parse(request.principal.name)
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
            raise InvalidInputError.of("witnesses.policy", f"must have at most {MAX_WITNESSES_BYTES:,} bytes")
        with self._database.transaction() as connection:
            outcome = self._acts.perform(connection, REGISTRY, WitnessesContent(policy=policy), actor())
        return told(outcome, lambda found: pb.TimingWitnesses(policy=found), request.witnesses)

    def SetContact(self, request: pb.SetContactRequest, context: grpc.ServicerContext) -> pb.Contact:
        principal = _principal_in(request.contact.name, "contact.name")
        contact = convert.contact_from_proto(request.contact)
        with self._database.transaction() as connection:
            look_alone(connection)
            standing = notices.find_contact(connection, principal)
            if standing is not None and standing.contact == contact:
                return convert.contact_to_proto(standing)
            salt, now = secrets.token_bytes(SALT_BYTES), read_time(connection)
            contact_hash = notices.propose_contact(connection, principal, contact, salt, now)
            content = ContactContent(principal=principal, contact_hash=contact_hash.hex())
            outcome = self._acts.perform(connection, REGISTRY, content, actor())
        return told(outcome, convert.contact_to_proto, request.contact)

    def GetContact(self, request: pb.GetContactRequest, context: grpc.ServicerContext) -> pb.Contact:
        principal = _principal_in(request.name, "name")
        with self._database.transaction() as connection:
            found = notices.find_contact(connection, principal)
        if found is None:
            raise NotFoundError(request.name)
        return convert.contact_to_proto(found)

    def GetProposedContact(
        self, request: pb.GetProposedContactRequest, context: grpc.ServicerContext
    ) -> pb.ProposedContact:
        with self._database.transaction() as connection:
            pool, leaf_index = proposal_in(connection, request.name, "name")
            act = self._acts.proposed_act(self._acts.get_proposal(connection, pool, leaf_index))
            if not isinstance(act, ContactContent):
                raise InvalidInputError.of("name", "must be of a proposal for a contact")
            standing = notices.find_contact(connection, act.principal)
            proposed = notices.read_contact(connection, bytes.fromhex(act.contact_hash))
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
