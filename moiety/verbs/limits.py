"""Verbs of the LimitsService: from when pools take events, and how much platforms may send."""

from __future__ import annotations

from functools import cached_property

from moiety.steps import Steps
from moiety.v1 import limits_pb2 as pb
from moiety.v1.limits_pb2_grpc import LimitsServiceStub
from moiety.verbs.base import Verbs, pool_name, verb


class LimitsVerbs(Verbs):
    """Limits on usage. Only operators set them."""

    @cached_property
    def _limits(self) -> LimitsServiceStub:
        return LimitsServiceStub(self._connection.channel)

    @verb
    def update_pool_limits(self, pool: str, limits: pb.PoolLimits) -> Steps[pb.PoolLimits]:
        """Replace from when a pool takes events; what is unset gets its default."""
        named = pb.PoolLimits()
        named.CopyFrom(limits)
        named.name = f"{pool_name(pool)}/limits"
        request = pb.UpdatePoolLimitsRequest(limits=named)
        return self._connection.unary(self._limits.UpdatePoolLimits, request, repeat=True)

    @verb
    def get_pool_limits(self, pool: str) -> Steps[pb.PoolLimits]:
        """Give from when a pool takes events."""
        request = pb.GetPoolLimitsRequest(name=f"{pool_name(pool)}/limits")
        return self._connection.unary(self._limits.GetPoolLimits, request, repeat=True)

    @verb
    def update_platform_limits(self, platform: str, limits: pb.PlatformLimits) -> Steps[pb.PlatformLimits]:
        """Replace how much a platform may send; what is unset has no limit."""
        named = pb.PlatformLimits()
        named.CopyFrom(limits)
        named.name = f"platforms/{platform}/limits"
        request = pb.UpdatePlatformLimitsRequest(limits=named)
        return self._connection.unary(self._limits.UpdatePlatformLimits, request, repeat=True)

    @verb
    def get_platform_limits(self, platform: str) -> Steps[pb.PlatformLimits]:
        """Give how much a platform may send, and what was counted today. A platform may ask for its own."""
        request = pb.GetPlatformLimitsRequest(name=f"platforms/{platform}/limits")
        return self._connection.unary(self._limits.GetPlatformLimits, request, repeat=True)
