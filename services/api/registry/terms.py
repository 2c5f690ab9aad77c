"""What a pool goes by, of the registry service: policies, methods, memberships and the schedule."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

import grpc

from ledger.registry import require_range, require_resource_id
from ledger.store.logs import log
from ledger.store.pools import memberships, methods
from ledger.store.pools.memberships import RecordedMembership
from ledger.store.postgres.database import Database
from ledger.store.postgres.gates import Gate
from ledger.store.registry.acts import Acts
from ledger.usage.methods import content_of
from moiety.v1 import registry_pb2 as pb
from payout.entries import PolicyContent
from payout.schedule import require_cron
from payout.store.policies import list_policies
from payout.store.schedules import get_schedule, schedule_act
from services.access.permissions import actor, caller
from services.api import convert
from services.api.chunks import chunks
from services.api.etags import require_unchanged
from services.api.names import ids_in, page_limit, place_in
from services.api.outcomes import told
from services.api.pages import page_of
from services.api.resources import pool_of

MAX_VERSION: Final = 2**31 - 1
"""The highest number that fits in the contract and the tables."""


class TermsMethods:
    """The part of the registry service that says what a pool goes by."""

    _database: Database
    _acts: Acts
    _heavy: Gate

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
            found = list_policies(connection, pool, after=after, limit=limit)
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
                found = convert.schedule_to_proto(get_schedule(connection, pool))
                wanted = convert.schedule_etag(schedule.cron, schedule.time_zone, paused=schedule.paused)
                require_unchanged(found.name, schedule.etag, found.etag, wanted)
            if request.validate_only:
                return schedule
            act = schedule_act(connection, pool, schedule.cron, schedule.time_zone, paused=schedule.paused)
            outcome = self._acts.perform(connection, pool, act, actor())
        return told(outcome, convert.schedule_to_proto, schedule)

    def GetSchedule(self, request: pb.GetScheduleRequest, context: grpc.ServicerContext) -> pb.Schedule:
        (pool_id,) = ids_in(request.name, "pools/*/schedule", "name")
        with self._database.transaction() as connection:
            pool = pool_of(connection, f"pools/{pool_id}", "name")
            return convert.schedule_to_proto(get_schedule(connection, pool))
