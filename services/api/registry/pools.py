"""Pools of the registry service: opened, closed, and the platforms that each admits."""

from __future__ import annotations

from functools import partial

import grpc
import sqlalchemy as sa

from ledger.acts.entries import PoolOpenedContent
from ledger.errors import InvalidInputError, Sentence
from ledger.money import minor_unit_exponent
from ledger.registry import MAX_DISPLAY_NAME, MAX_NAMED, require_resource_id, require_text
from ledger.store.logs.log import REGISTRY
from ledger.store.pools.admissions import admitted_platforms
from ledger.store.pools.pools import PoolRecord, get_pool, list_pools
from ledger.store.postgres.database import Database
from ledger.store.registry.acts import Acts
from ledger.store.registry.platforms import get_platform
from ledger.store.usage import closing
from ledger.usage.entries import AdmissionContent, ClosingContent
from moiety.v1 import registry_pb2 as pb
from payout.store.policies import latest_policy
from services.access.keys import Role
from services.access.permissions import actor, caller, open_pools, own_id
from services.api import convert
from services.api.names import only_id, page_limit, place_in
from services.api.outcomes import told
from services.api.pages import page_of
from services.api.resources import pool_of


class PoolMethods:
    """The part of the registry service that opens pools, and lets platforms in."""

    _database: Database
    _acts: Acts

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
            return self._pool(connection, get_pool(connection, pool.name))

    def ListPools(self, request: pb.ListPoolsRequest, context: grpc.ServicerContext) -> pb.ListPoolsResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, "")
        with self._database.transaction() as connection:
            found = list_pools(connection, after=after, limit=limit, among=open_pools())
            listed, token = page_of(found, limit, partial(self._pool, connection), lambda pool: (pool.ref.name,))
        return pb.ListPoolsResponse(pools=listed, next_page_token=token)

    def _pool(self, connection: sa.Connection, pool: PoolRecord) -> pb.Pool:
        policy = latest_policy(connection, pool.ref)
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
            get_platform(connection, content.platform)
            if validate_only:
                return convert.admission_to_proto(pool.name, content)
            outcome = self._acts.perform(connection, pool, content, actor())
        return told(outcome, partial(convert.admission_to_proto, pool.name), content)

    def ClosePool(self, request: pb.ClosePoolRequest, context: grpc.ServicerContext) -> pb.Pool:
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.name, "name")
            outcome = self._acts.perform(connection, pool, ClosingContent(), actor())
            found = self._pool(connection, get_pool(connection, pool.name))
        return told(outcome, lambda _: found, found)


def _platforms_of(pool: pb.Pool) -> list[str]:
    """Returns the ids of the platforms that a new pool admits, sorted."""
    if len(pool.platforms) > MAX_NAMED:
        reason = Sentence("must be at most %(most)s; admit the others afterwards", most=MAX_NAMED)
        raise InvalidInputError.of("pool.platforms", reason)
    ids = {only_id(name, "platforms", f"pool.platforms[{place}]") for place, name in enumerate(pool.platforms)}
    return sorted(ids)
