"""The registry service."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

import grpc
import sqlalchemy as sa

from ledger.errors import NotFoundError
from ledger.money import minor_unit_exponent
from ledger.registry import MAX_DISPLAY_NAME, require_range, require_resource_id, require_text
from ledger.store import domains, log, memberships, methods, registry
from ledger.store.log import PoolRef
from ledger.store.memberships import RecordedMembership
from moiety.v1 import registry_pb2 as pb
from moiety.v1 import registry_pb2_grpc
from payout.entries import PoolContent
from payout.schedule import require_cron
from payout.store import pools
from services.access import keys
from services.access.keys import Principal, Role
from services.access.permissions import own_id, require_own
from services.api import convert
from services.api.chunks import chunks
from services.api.names import ids_in, only_id, page_limit, place_in
from services.api.pages import page_of
from services.parts import Parts

MAX_VERSION: Final = 2**31 - 1
"""The highest number that the contract and the tables have room for."""


def pool_of(connection: sa.Connection, name: str, field: str) -> PoolRef:
    """The pool named `pools/{pool}`."""
    return registry.pool_ref(connection, only_id(name, "pools", field))


class RegistryService(registry_pb2_grpc.RegistryServiceServicer):
    """Platforms, collectives, pools, policies, methods, memberships, schedules and API keys."""

    def __init__(self, parts: Parts) -> None:
        self._database = parts.database
        self._keyring = parts.keyring
        self._collectives = parts.usage.collectives
        self._clock = parts.clock

    def CreatePlatform(self, request: pb.CreatePlatformRequest, context: grpc.ServicerContext) -> pb.Platform:
        platform = convert.platform_from_proto(request.platform_id, request.platform)
        if request.validate_only:
            return convert.platform_to_proto(platform)
        with self._database.transaction() as connection:
            return convert.platform_to_proto(registry.create_platform(connection, platform, self._clock()))

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
            return convert.collective_to_proto(registry.create_collective(connection, collective, self._clock()))

    def UpdateCollective(self, request: pb.UpdateCollectiveRequest, context: grpc.ServicerContext) -> pb.Collective:
        collective_id = only_id(request.collective.name, "collectives", "collective.name")
        collective = convert.collective_from_proto(collective_id, request.collective)
        with self._database.transaction() as connection:
            if request.validate_only:
                registry.require_collective(connection, collective_id)
                domains.require_free(connection, collective)
                return convert.collective_to_proto(collective)
            return convert.collective_to_proto(registry.update_collective(connection, collective))

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
        collectives, token = page_of(found, limit, convert.collective_to_proto, lambda collective: (collective.name,))
        return pb.ListCollectivesResponse(collectives=collectives, next_page_token=token)

    def CreatePool(self, request: pb.CreatePoolRequest, context: grpc.ServicerContext) -> pb.Pool:
        pool_id = require_resource_id(request.pool_id, "pool_id")
        minor_unit_exponent(request.pool.currency, "pool.currency")
        content = PoolContent(
            display_name=require_text(request.pool.display_name, "pool.display_name", least=1, most=MAX_DISPLAY_NAME),
            currency=request.pool.currency,
            policy=convert.policy_from_proto(request.pool.policy),
        )
        if request.validate_only:
            return request.pool
        with self._database.transaction() as connection:
            pool = pools.create_pool(connection, pool_id, content, self._clock())
            return self._pool(connection, pool)

    def GetPool(self, request: pb.GetPoolRequest, context: grpc.ServicerContext) -> pb.Pool:
        with self._database.transaction() as connection:
            return self._pool(connection, registry.get_pool(connection, only_id(request.name, "pools", "name")))

    def ListPools(self, request: pb.ListPoolsRequest, context: grpc.ServicerContext) -> pb.ListPoolsResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, "")
        with self._database.transaction() as connection:
            found = registry.list_pools(connection, after=after, limit=limit)
            listed, token = page_of(found, limit, partial(self._pool, connection), lambda pool: (pool.ref.name,))
        return pb.ListPoolsResponse(pools=listed, next_page_token=token)

    def _pool(self, connection: sa.Connection, pool: registry.PoolRecord) -> pb.Pool:
        return convert.pool_to_proto(pool, pools.list_policies(connection, pool.ref)[-1])

    def CreatePolicy(self, request: pb.CreatePolicyRequest, context: grpc.ServicerContext) -> pb.Policy:
        policy = convert.policy_from_proto(request.policy)
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            if request.validate_only:
                return request.policy
            return convert.policy_to_proto(pools.create_policy(connection, pool, policy, self._clock()))

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
            else:
                method = methods.declare_method(connection, pool, method, self._clock())
        return convert.method_to_proto(pool.name, method)

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
        new = memberships.new_membership(request.membership_id, request.body)
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            if request.validate_only:
                memberships.require_registered(connection, new, self._collectives)
                recorded = RecordedMembership(0, None, new.content(0))
            else:
                recorded = memberships.declare_membership(connection, pool, new, self._collectives, self._clock())
        return convert.membership_to_proto(pool.name, recorded)

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
            if request.validate_only:
                return schedule
            return convert.schedule_to_proto(
                pools.put_schedule(connection, pool, schedule.cron, schedule.time_zone, schedule.paused, self._clock())
            )

    def GetSchedule(self, request: pb.GetScheduleRequest, context: grpc.ServicerContext) -> pb.Schedule:
        (pool_id,) = ids_in(request.name, "pools/*/schedule", "name")
        with self._database.transaction() as connection:
            pool = pool_of(connection, f"pools/{pool_id}", "name")
            return convert.schedule_to_proto(pools.get_schedule(connection, pool))

    def CreateApiKey(self, request: pb.CreateApiKeyRequest, context: grpc.ServicerContext) -> pb.CreateApiKeyResponse:
        principal = Principal.parse(request.principal)
        with self._database.transaction() as connection:
            key, secret = keys.issue_key(connection, principal, self._clock())
        return pb.CreateApiKeyResponse(api_key=convert.api_key_to_proto(key), secret=secret)

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
            revoked = keys.revoke_key(connection, key_id, self._clock())
        self._keyring.forget()
        return convert.api_key_to_proto(revoked)
