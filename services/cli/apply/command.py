"""`moiety apply`: brings the service in line with a declaration."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel

import payout.policy
from ledger.income import Distribute
from moiety import (
    Client,
    Collective,
    InvalidArgumentError,
    Method,
    NotFoundError,
    Platform,
    Policy,
    Pool,
    Proposal,
    Schedule,
    Violation,
    read_membership,
)
from moiety.memberships import render_membership
from moiety.v1.limits_pb2 import PlatformLimits, PoolLimits
from services.cli.apply import declaration
from services.cli.apply.declaration import Declaration, read_declaration, validated
from services.cli.apply.differences import Action, Change, Kind, conflicts, differences
from services.cli.base.connection import Session, client_command
from services.cli.base.documents import document, identity, message_of
from services.cli.base.exits import ConflictError, InputError
from services.cli.base.output import counted, table

M = TypeVar("M", bound=BaseModel)


@client_command
def apply(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE.yaml", help="What to declare; see docs/examples/pool.yaml.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the changes and show them, without making any.")
    ] = False,
) -> None:
    """Declare platforms, collectives, pools, policies, memberships, methods, schedules and limits. Safe to repeat."""
    declared, memberships = with_memberships(read_declaration(file), file.parent)
    current = current_state(session.client, declared)
    if found := conflicts(declared, current):
        raise ConflictError(found)
    changes = differences(declared, current)
    # Everything is checked before anything is changed, except for changes that need others to be made first.
    new = {change.resource for change in changes if change.action is Action.CREATE}
    for change in changes:
        is_there = change.kind is Kind.POOL or not change.new_pool
        if is_there and not new & _named(declared, memberships, change):
            _make(session.client, declared, memberships, change, validate_only=True)
    made = [] if dry_run else list(_make_all(session.client, declared, memberships, changes))
    states = made or [Made(change) for change in changes]
    also = [] if dry_run else _also_waiting(session.client, declared, {each.proposal for each in made})
    session.output.show(
        {
            "dry_run": dry_run,
            "changes": [_change_document(each, dry_run) for each in states],
            "also_waiting": [document(each) for each in also],
        },
        *([_table(changes)] if changes else []),
        *(line for each in made for line in each.shown()),
        *(f"{each.name} waits too, and is not of this file: {each.effect} by {each.proposed_by}" for each in also),
        _summary(states, dry_run),
    )


def _also_waiting(client: Client, declared: Declaration, known: Collection[str]) -> list[Proposal]:
    """The open proposals in the logs that a declaration is about, but for those that its changes wait for.

    They may be about what it declares, and would change it once approved.
    """
    there = {identity(pool.name) for pool in client.list_pools()}
    logs = [None, *(name for name in declared.pools if name in there)]
    return [each for log in logs for each in client.list_proposals(log, only_open=True) if each.name not in known]


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a change: it was made; or `proposal` waits; or it comes `later`, after what it needs."""

    change: Change
    proposal: str = ""
    later: bool = False

    def shown(self) -> list[str]:
        """The line for people, where it was not made."""
        if self.proposal:
            return [f"{self.change.resource}: proposal {self.proposal} waits for another operator"]
        return [f"{self.change.resource}: not proposed yet, since it needs what waits"] if self.later else []

    @property
    def state(self) -> str:
        """As machines read it."""
        return "PROPOSED" if self.proposal else "LATER" if self.later else "DONE"


def _make_all(
    client: Client, declared: Declaration, memberships: Memberships, changes: Iterable[Change]
) -> Iterator[Made]:
    """Make the changes in order, but for those that need something that waits for another operator."""
    waiting: set[str] = set()
    for change in changes:
        needed = _named(declared, memberships, change)
        if change.new_pool and change.kind is not Kind.POOL:
            needed = needed | {f"pools/{change.pool}"}
        moves = change.moving_domains and any(name.startswith("collectives/") for name in waiting)
        if moves or needed & waiting:
            made = Made(change, later=True)
        else:
            made = Made(change, _make(client, declared, memberships, change, validate_only=False))
        if made.state != "DONE":
            waiting.add(change.resource)
        yield made


Memberships = dict[str, dict[str, str]]
"""By resource name, the collective of each source."""


def with_memberships(declared: Declaration, folder: Path) -> tuple[Declaration, Memberships]:
    """Returns the declaration with the SHA-256 of each membership in the place of its file, and the memberships."""
    found: Memberships = {}
    pools = {}
    for name, pool in declared.pools.items():
        digests = {}
        for membership_id, file in pool.memberships.items():
            membership = read_membership(folder / file)
            found[f"pools/{name}/memberships/{membership_id}"] = membership
            digests[membership_id] = sha256(render_membership(membership)).hexdigest()
        pools[name] = pool.model_copy(update={"memberships": digests})
    return declared.model_copy(update={"pools": pools}), found


def _named(declared: Declaration, memberships: Memberships, change: Change) -> set[str]:
    """Returns the resource names that a change needs besides its pool."""
    match change.kind:
        case Kind.MEMBERSHIP:
            return {f"collectives/{name}" for name in memberships[change.resource].values()}
        case Kind.METHOD:
            method = declared.pools[change.pool].methods[change.id]
            return {f"pools/{change.pool}/memberships/{method.membership}"}
        case Kind.PLATFORM_LIMITS | Kind.ADMISSION:
            return {f"platforms/{change.id}"}
        case Kind.POOL:
            return {f"platforms/{name}" for name in declared.pools[change.id].platforms}
        case _:
            return set()


def current_state(client: Client, declared: Declaration) -> Declaration:
    """Returns what the service has of what is declared."""
    pools = {identity(pool.name): pool for pool in client.list_pools()}
    return Declaration(
        platforms={
            name: _platform(client, item, declared.platforms.get(name))
            for name, item in _by_id(client.list_platforms() if declared.platforms else ())
        },
        collectives={
            identity(item.name): _model(declaration.Collective, document(item))
            for item in (client.list_collectives() if declared.collectives else ())
        },
        pools={name: _pool(client, name, pools[name]) for name in declared.pools if name in pools},
    )


def _by_id(items: Iterable[Platform]) -> Iterator[tuple[str, Platform]]:
    return ((identity(item.name), item) for item in items)


def _platform(client: Client, found: Platform, declared: declaration.Platform | None) -> declaration.Platform:
    platform = _model(declaration.Platform, document(found))
    if declared is None or declared.limits is None:  # it costs a call each, and nobody asks
        return platform
    there = document(client.get_platform_limits(identity(found.name)))
    return platform.model_copy(update={"limits": _model(declaration.PlatformLimits, there)})


def _pool(client: Client, name: str, pool: Pool) -> declaration.Pool:
    methods = {
        identity(method.name): _model(declaration.Method, document(method))  # the latest version comes last
        for method in client.list_methods(name)
    }
    try:
        schedule = _model(declaration.Schedule, document(client.get_schedule(name)))
    except NotFoundError:
        schedule = None
    return declaration.Pool(
        display_name=pool.display_name,
        currency=pool.currency,
        distribute=Distribute(document(pool)["distribute"]),
        policy=_model(payout.policy.Policy, document(pool.policy)),
        platforms=[identity(platform) for platform in pool.platforms],
        memberships={identity(found.name): found.body_sha256.hex() for found in client.list_memberships(name)},
        methods=methods,
        schedule=schedule,
        limits=_model(declaration.PoolLimits, document(client.get_pool_limits(name))),
    )


def _model(kind: type[M], found: Mapping[str, Any]) -> M:
    known = {name: found[name] for name in kind.model_fields if found.get(name) is not None}
    return validated(kind, known)


def _make(
    client: Client, declared: Declaration, memberships: Memberships, change: Change, *, validate_only: bool
) -> str:
    """Make a change, or have it checked; gives the name of the proposal that waits, if it does."""
    try:
        if change.kind is Kind.MEMBERSHIP:
            membership = memberships[change.resource]
            done = client.create_membership(change.pool, change.id, membership, validate_only=validate_only)
        else:
            done = _call(client, declared, change, validate_only=validate_only)
        return getattr(done, "proposal", "")  # limits are settings, which nobody else has to approve
    except InvalidArgumentError as error:
        found = [Violation(f"{change.resource} ({item.field})", item.description) for item in error.violations]
        raise InputError(found or [Violation(change.resource, error.message)]) from None


def _opened(pool: declaration.Pool) -> Pool:
    values = {"display_name": pool.display_name, "currency": pool.currency, "distribute": pool.distribute.value}
    opened = message_of(Pool, values)
    opened.policy.CopyFrom(message_of(Policy, _values(pool.policy)))
    opened.platforms.extend(f"platforms/{platform}" for platform in pool.platforms)
    return opened


def _call(client: Client, declared: Declaration, change: Change, *, validate_only: bool) -> Any:
    """Make the call of a change; gives what it returned, None where nothing was called."""
    name = change.id
    done: Any = None
    match change.kind:
        case Kind.PLATFORM:
            platform = Platform(display_name=declared.platforms[name].display_name)
            done = client.create_platform(name, platform, validate_only=validate_only)
        case Kind.COLLECTIVE:
            values = _values(declared.collectives[name])
            if validate_only:  # others still have these
                values["domains"] = [domain for domain in values["domains"] if domain not in change.moving_domains]
            collective = message_of(Collective, values)
            send = client.update_collective if change.action == "update" else client.create_collective
            done = send(name, collective, validate_only=validate_only)
        case Kind.POOL:
            done = client.create_pool(name, _opened(declared.pools[name]), validate_only=validate_only)
        case Kind.POLICY:
            policy = message_of(Policy, _values(declared.pools[change.pool].policy))
            done = client.create_policy(change.pool, policy, validate_only=validate_only)
        case Kind.ADMISSION:
            done = client.admit_platform(change.pool, name, validate_only=validate_only)
        case Kind.METHOD:
            values = _values(declared.pools[change.pool].methods[name])
            if values["score_kind"] is None:  # then there is no rule, of which the others are parts
                values |= {"score_order": None, "coverage_nano": None}
            method = message_of(Method, values)
            done = client.create_method(change.pool, name, method, validate_only=validate_only)
        case Kind.SCHEDULE:
            schedule = message_of(Schedule, _values(declared.pools[change.pool].schedule))
            done = client.update_schedule(change.pool, schedule, validate_only=validate_only)
        case Kind.POOL_LIMITS if not validate_only:  # checked when the declaration was read
            done = client.update_pool_limits(change.pool, message_of(PoolLimits, _values(declared.pools[name].limits)))
        case Kind.PLATFORM_LIMITS if not validate_only:
            limits = message_of(PlatformLimits, _values(declared.platforms[name].limits))
            done = client.update_platform_limits(name, limits)
    return done


def _values(model: BaseModel | None) -> dict[str, Any]:
    return {} if model is None else {name: getattr(model, name) for name in type(model).model_fields}


def _change_document(made: Made, dry_run: bool) -> dict[str, Any]:
    change = made.change
    fields = [{"field": item.field, "before": item.before, "after": item.after} for item in change.fields]
    shown = {"resource": change.resource, "action": change.action, "fields": fields}
    return shown if dry_run else {**shown, "state": made.state, "proposal": made.proposal}


def _table(changes: list[Change]) -> object:
    rows: list[tuple[object, ...]] = []
    for change in changes:
        for place, item in enumerate(change.fields):
            head = (change.resource, change.action) if place == 0 else ("", "")
            rows.append((*head, item.field, item.before, item.after))
    return table(["Resource", "Change", "Field", "Before", "After"], rows)


def _summary(changes: Sequence[Made], dry_run: bool) -> str:
    if not changes:
        return "Nothing changes."
    if dry_run:
        return f"{counted(len(changes), 'change')} would be made; nothing was changed."
    done = sum(each.state == "DONE" for each in changes)
    said = f"{counted(done, 'change')} made"
    return f"{said}." if done == len(changes) else f"{said}, {len(changes) - done} wait for another operator."
