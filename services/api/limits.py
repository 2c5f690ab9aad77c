"""The limits service."""

from __future__ import annotations

from typing import Final

import grpc
import sqlalchemy as sa

from ledger.store.logs.log import PoolRef
from ledger.store.pools.pools import pool_ref
from ledger.store.registry.platforms import platform_number
from ledger.store.usage import limits
from ledger.usage.limits import PlatformLimits, PoolLimits
from moiety.v1 import limits_pb2 as pb
from moiety.v1 import limits_pb2_grpc
from services.access.keys import Role
from services.access.permissions import require_own, require_pool
from services.api.names import ids_in
from services.parts import Parts

_POOL: Final = PoolLimits()


class LimitsService(limits_pb2_grpc.LimitsServiceServicer):
    """Which times pools accept, and how much platforms may send."""

    def __init__(self, parts: Parts) -> None:
        self._database = parts.database
        self._clock = parts.clock

    def UpdatePoolLimits(self, request: pb.UpdatePoolLimitsRequest, context: grpc.ServicerContext) -> pb.PoolLimits:
        asked = request.limits
        new = PoolLimits(
            asked.lead_seconds_max if asked.HasField("lead_seconds_max") else _POOL.lead_seconds_max,
            asked.age_seconds_max if asked.HasField("age_seconds_max") else _POOL.age_seconds_max,
        ).require_sound()
        with self._database.transaction() as connection:
            pool = _pool_of(connection, asked.name, "limits.name")
            limits.set_pool_limits(connection, pool, new)
        return _pool_limits(pool.name, new)

    def GetPoolLimits(self, request: pb.GetPoolLimitsRequest, context: grpc.ServicerContext) -> pb.PoolLimits:
        with self._database.reading() as connection:
            pool = _pool_of(connection, request.name, "name")
            return _pool_limits(pool.name, limits.pool_limits(connection, pool))

    def UpdatePlatformLimits(
        self, request: pb.UpdatePlatformLimitsRequest, context: grpc.ServicerContext
    ) -> pb.PlatformLimits:
        asked = request.limits
        platform = _owner_of(asked.name, "platforms", "limits.name")
        new = PlatformLimits(
            asked.events_per_day if asked.HasField("events_per_day") else None,
            asked.bytes_per_day if asked.HasField("bytes_per_day") else None,
            asked.open_streams if asked.HasField("open_streams") else None,
        ).require_sound()
        with self._database.transaction() as connection:
            limits.set_platform_limits(connection, platform_number(connection, platform), new)
            return self._platform_limits(connection, platform)

    def GetPlatformLimits(
        self, request: pb.GetPlatformLimitsRequest, context: grpc.ServicerContext
    ) -> pb.PlatformLimits:
        platform = _owner_of(request.name, "platforms", "name")
        require_own(Role.PLATFORM, platform, request.name)
        with self._database.reading() as connection:
            return self._platform_limits(connection, platform)

    def _platform_limits(self, connection: sa.Connection, platform: str) -> pb.PlatformLimits:
        platform_id = platform_number(connection, platform)
        found = limits.platform_limits(connection, platform_id)
        today = limits.day_of_usage(connection, platform_id, self._clock().date())
        return pb.PlatformLimits(
            name=f"platforms/{platform}/limits",
            events_per_day=found.events_per_day,
            bytes_per_day=found.bytes_per_day,
            open_streams=found.open_streams,
            events_today=today.events,
            bytes_today=today.batch_bytes,
        )


def _owner_of(name: str, collection: str, field: str) -> str:
    """The id in `{collection}/{id}/limits`."""
    (identity,) = ids_in(name, f"{collection}/*/limits", field)
    return identity


def _pool_of(connection: sa.Connection, name: str, field: str) -> PoolRef:
    """Returns the pool in `pools/{pool}/limits`, if the caller's key gives access to it."""
    pool_id = _owner_of(name, "pools", field)
    require_pool(pool_id)
    return pool_ref(connection, pool_id)


def _pool_limits(pool: str, found: PoolLimits) -> pb.PoolLimits:
    return pb.PoolLimits(
        name=f"pools/{pool}/limits",
        lead_seconds_max=found.lead_seconds_max,
        age_seconds_max=found.age_seconds_max,
    )
