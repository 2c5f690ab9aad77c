"""The changes that bring a service in line with a declaration. Pure: two declarations in, changes out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from graphlib import CycleError, TopologicalSorter
from typing import Any

from pydantic import BaseModel

from moiety.errors import Violation
from services.cli.apply.declaration import Declaration, Pool


class Kind(StrEnum):
    """What is changed."""

    PLATFORM = "platform"
    COLLECTIVE = "collective"
    POOL = "pool"
    POLICY = "policy"
    ADMISSION = "platform admission"
    MEMBERSHIP = "membership"
    METHOD = "method"
    SCHEDULE = "schedule"
    POOL_LIMITS = "limits"
    PLATFORM_LIMITS = "platform limits"


class Action(StrEnum):
    """How it is changed."""

    CREATE = "create"
    UPDATE = "update"
    NEW_VERSION = "new version"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field's value before (None if there was none) and after."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Change:
    """One call to make.

    `id` is that of the platform, collective, pool, membership or method; `pool` that of the pool it belongs to, or its
    own; `new_pool` is true if that pool has to be created first; `moving_domains` are those that another collective
    gives up in an earlier change.
    """

    kind: Kind
    action: Action
    id: str
    fields: tuple[FieldChange, ...]
    pool: str = ""
    new_pool: bool = False
    moving_domains: frozenset[str] = frozenset()

    @property
    def resource(self) -> str:
        """The resource name."""
        match self.kind:
            case Kind.PLATFORM | Kind.COLLECTIVE | Kind.POOL:
                return f"{self.kind.value}s/{self.id}"
            case Kind.PLATFORM_LIMITS:
                return f"platforms/{self.id}/limits"
            case Kind.ADMISSION:
                return f"pools/{self.pool}/platforms/{self.id}"
            case Kind.METHOD | Kind.MEMBERSHIP:
                return f"pools/{self.pool}/{self.kind.value}s/{self.id}"
            case _:
                return f"pools/{self.pool}/{self.kind.value}"


def differences(declared: Declaration, current: Declaration) -> list[Change]:
    """Returns the changes that turn `current` into `declared`, in an order in which they can be made.

    Memberships are compared by the SHA-256 of their bodies, in both.
    """
    return [*_platforms(declared, current), *_collectives(declared, current), *_pools(declared, current)]


def conflicts(declared: Declaration, current: Declaration) -> list[Violation]:
    """Returns differences that cannot be applied: a platform's name, a pool's name, currency and what it
    distributes, and domains that collectives take over from each other in a circle.
    """
    found = []
    for kind, fields in (("platforms", ("display_name",)), ("pools", ("display_name", "currency", "distribute"))):
        there = getattr(current, kind)
        for name, wanted in getattr(declared, kind).items():
            for field in fields:
                is_now = getattr(there.get(name, wanted), field)
                if is_now != getattr(wanted, field):
                    found.append(Violation(f"{kind}.{name}.{field}", f"is {str(is_now)!r} and cannot be changed"))
    try:
        _givers_first(declared, _moving_domains(declared, current))
    except CycleError as error:
        reason = (
            f"domains change hands in a circle: {' -> '.join(error.args[1])}; declare them without some of them first"
        )
        found.append(Violation("collectives", reason))
    return found


def _platforms(declared: Declaration, current: Declaration) -> Iterator[Change]:
    for name, platform in declared.platforms.items():
        before = current.platforms.get(name)
        if before is None:
            shown = FieldChange("display_name", None, platform.display_name)
            yield Change(Kind.PLATFORM, Action.CREATE, name, (shown,))
        limits_before = before.limits if before else None
        if platform.limits and (fields := _fields(limits_before, platform.limits)):
            yield Change(Kind.PLATFORM_LIMITS, Action.UPDATE, name, fields)


def _collectives(declared: Declaration, current: Declaration) -> Iterator[Change]:
    moving = _moving_domains(declared, current)
    for name in _givers_first(declared, moving):
        collective, before = declared.collectives[name], current.collectives.get(name)
        if fields := _fields(before, collective):
            action = Action.UPDATE if before else Action.CREATE
            yield Change(Kind.COLLECTIVE, action, name, fields, moving_domains=frozenset(moving[name]))


def _moving_domains(declared: Declaration, current: Declaration) -> dict[str, dict[str, str]]:
    """The domains that each collective takes over from another one, and from which."""
    owners = {domain: name for name, collective in current.collectives.items() for domain in collective.domains}
    return {
        name: {
            domain: owners[domain]
            for domain in collective.domains
            if owners.get(domain, name) != name and owners[domain] in declared.collectives
        }
        for name, collective in declared.collectives.items()
    }


def _givers_first(declared: Declaration, moving: dict[str, dict[str, str]]) -> list[str]:
    """The declared collectives, each after those that it takes domains from.

    Raises:
        CycleError: collectives take domains from each other in a circle.
    """
    return list(TopologicalSorter({name: moving[name].values() for name in declared.collectives}).static_order())


def _pools(declared: Declaration, current: Declaration) -> Iterator[Change]:
    for name, pool in declared.pools.items():
        before = current.pools.get(name)
        if before is None:
            policy = tuple(
                FieldChange(f"policy.{change.field}", None, change.after) for change in _fields(None, pool.policy)
            )
            own = (
                FieldChange("display_name", None, pool.display_name),
                FieldChange("currency", None, pool.currency),
                FieldChange("distribute", None, pool.distribute.value),
            )
            admitted = (FieldChange("platforms", None, sorted(set(pool.platforms))),) if pool.platforms else ()
            yield Change(Kind.POOL, Action.CREATE, name, own + admitted + policy, pool=name, new_pool=True)
        elif fields := _fields(before.policy, pool.policy):
            yield Change(Kind.POLICY, Action.NEW_VERSION, name, fields, pool=name)
        for platform in sorted(set(pool.platforms) - set(before.platforms)) if before else ():
            changed = (FieldChange("admitted", False, True),)
            yield Change(Kind.ADMISSION, Action.UPDATE, platform, changed, pool=name)
        yield from _belongings(name, pool, before)


def _belongings(name: str, pool: Pool, before: Pool | None) -> Iterator[Change]:
    new_pool = before is None
    for membership_id, digest in pool.memberships.items():
        digest_before = before.memberships.get(membership_id) if before else None
        if digest != digest_before:
            action = Action.NEW_VERSION if digest_before else Action.CREATE
            changed = (FieldChange("body_sha256", digest_before, digest),)
            yield Change(Kind.MEMBERSHIP, action, membership_id, changed, pool=name, new_pool=new_pool)
    for method_id, method in pool.methods.items():
        method_before = before.methods.get(method_id) if before else None
        if fields := _fields(method_before, method):
            action = Action.NEW_VERSION if method_before else Action.CREATE
            yield Change(Kind.METHOD, action, method_id, fields, pool=name, new_pool=new_pool)
    schedule_before = before.schedule if before else None
    if pool.schedule and (fields := _fields(schedule_before, pool.schedule)):
        action = Action.UPDATE if schedule_before else Action.CREATE
        yield Change(Kind.SCHEDULE, action, name, fields, pool=name, new_pool=new_pool)
    if pool.limits and (fields := _fields(before.limits if before else None, pool.limits)):
        yield Change(Kind.POOL_LIMITS, Action.UPDATE, name, fields, pool=name, new_pool=new_pool)


def _fields(before: BaseModel | None, after: BaseModel) -> tuple[FieldChange, ...]:
    """The fields that differ; for something new, those that differ from their default."""
    found = []
    for name, info in type(after).model_fields.items():
        new = getattr(after, name)
        old = getattr(before, name) if before is not None else info.get_default()
        if new != old or (before is None and info.is_required()):
            found.append(FieldChange(name, old if before is not None else None, new))
    return tuple(found)
