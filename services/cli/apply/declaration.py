"""What `moiety apply` declares: platforms, collectives and pools with their policies, memberships, methods, schedules.

A declaration states the whole content of each thing that it names; fields that it leaves out have their defaults.
Things that it does not name are not changed. docs/examples/pool.yaml has every field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError, model_validator

from ledger.errors import InvalidInputError
from ledger.income import Distribute
from ledger.registry import NANO, PPM
from ledger.usage import limits
from ledger.usage.methods import TOLERANCE_NANO, ScoreKind, ScoreOrder
from moiety import DomainMap, InvalidDomainError, Violation
from payout.policy import Policy
from services.cli.base.exits import InputError
from services.cli.base.plain_yaml import parse_yaml, read_yaml

_PLAIN: Final = {
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping",
    "extra_forbidden": "is not a known field",
    "int_type": "must be an integer in plain decimal, without quotes",
    "list_type": "must be a list",
    "missing": "is missing",
    "model_type": "must be a mapping",
    "string_type": "must be text; put it in quotes",
}
"""The message for each kind of pydantic's errors."""

Model = TypeVar("Model", bound=BaseModel)


class _Declared(BaseModel):
    """Closed and strict: unknown fields are refused, and a number is not text."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PlatformLimits(_Declared):
    """How much a platform may send. None is no limit."""

    events_per_day: int | None = None
    bytes_per_day: int | None = None
    open_streams: int | None = None

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        _require_sound(limits.PlatformLimits(**self.model_dump()))
        return self


class Platform(_Declared):
    """A platform, by id. Limits that are not declared are left as they are."""

    display_name: str
    limits: PlatformLimits | None = None


class Collective(_Declared):
    """A collective, by id."""

    display_name: str
    members: int = 0
    equity_ppm: int = PPM
    status: Literal["ACTIVE", "SUSPENDED"] = "ACTIVE"
    domains: list[str] = Field(default=[])


class Method(_Declared):
    """A method of a pool, by id."""

    display_name: str
    confidence_ppm: int
    evidence_uri: str = ""
    covers: str = ""
    score_kind: Annotated[ScoreKind, Strict(strict=False)] | None = None
    score_order: Annotated[ScoreOrder, Strict(strict=False)] = ScoreOrder.SUM_THEN_CLIP
    coverage_nano: int = NANO
    sum_repeats: bool = False
    tolerance_nano: int | None = None
    membership: str = ""

    @model_validator(mode="after")
    def _has_a_kind(self) -> Self:
        for name in ("score_order", "coverage_nano", "sum_repeats", "tolerance_nano", "membership"):
            if self.score_kind is None and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is allowed only with a score_kind")
        if self.tolerance_nano is None and self.score_kind is ScoreKind.SHARE:
            return self.model_copy(update={"tolerance_nano": TOLERANCE_NANO})
        return self


class Schedule(_Declared):
    """When a pool's rounds are cut."""

    cron: str
    time_zone: str
    paused: bool = False


class PoolLimits(_Declared):
    """From when a pool takes events."""

    lead_seconds_max: int = limits.PoolLimits().lead_seconds_max
    age_seconds_max: int = limits.PoolLimits().age_seconds_max

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        _require_sound(limits.PoolLimits(**self.model_dump()))
        return self


def _require_sound(found: limits.PlatformLimits | limits.PoolLimits) -> None:
    try:
        found.require_sound()
    except InvalidInputError as error:
        raise ValueError(
            "; ".join(f"{item.field.removeprefix('limits.')} {item.reason}" for item in error.violations)
        ) from None


class Pool(_Declared):
    """A pool, by id, with what belongs to it.

    Without a schedule, rounds are calculated by hand. Limits that are not declared are left as they are.
    """

    display_name: str
    currency: str
    distribute: Annotated[Distribute, Field(strict=False)] = Distribute.RECEIVED
    policy: Policy
    platforms: list[str] = Field(default=[])
    """The ids of platforms that may report to it. Others that are admitted stay so."""
    memberships: dict[str, str] = Field(default_factory=dict)
    """By id, its CSV file, relative to the declaration."""
    methods: dict[str, Method] = Field(default_factory=dict)
    schedule: Schedule | None = None
    limits: PoolLimits | None = None


class Declaration(_Declared):
    """Everything that a file declares, or that a service has."""

    platforms: dict[str, Platform] = Field(default_factory=dict)
    collectives: dict[str, Collective] = Field(default_factory=dict)
    pools: dict[str, Pool] = Field(default_factory=dict)


def read_declaration(path: Path) -> Declaration:
    """Returns what a YAML file declares, with domains in canonical form.

    Raises:
        InputError: the file cannot be read, or is not a declaration; names each field that is wrong.
    """
    return _declaration(read_yaml(path))


def read_policy(path: Path) -> Policy:
    """Returns the policy in a YAML file, with the fields that a declaration has under `policy`.

    Raises:
        InputError: the file cannot be read, or is not a policy; names each field that is wrong.
    """
    return validated(Policy, read_yaml(path))


def parse_declaration(text: str) -> Declaration:
    """Returns what a YAML text declares, with domains in canonical form.

    Raises:
        InputError: it is not a declaration; names each field that is wrong.
    """
    return _declaration(parse_yaml(text))


def _declaration(content: Any) -> Declaration:
    declared = validated(Declaration, content)
    domains = domain_map({name: collective.domains for name, collective in declared.collectives.items()})
    collectives = {
        name: collective.model_copy(update={"domains": domains.domains_of(name)})
        for name, collective in declared.collectives.items()
    }
    return declared.model_copy(update={"collectives": collectives})


def domain_map(domains: Mapping[str, Iterable[str]]) -> DomainMap:
    """Returns the map of each collective's domains.

    Raises:
        InputError: a domain is invalid, or two collectives declare it; names the collective.
    """
    try:
        return DomainMap(domains)
    except InvalidDomainError as error:
        raise InputError.of(f"collectives.{error.collective}.domains", f"{error.domain!r} {error.reason}") from None


def validated(model: type[Model], content: Any) -> Model:
    """Returns the content as a model.

    Raises:
        InputError: it does not fit; names each field that is wrong.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        violations = [Violation(_path(item["loc"]), _reason(item["type"], item["msg"])) for item in found]
        raise InputError(violations) from None


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part)[:80] for part in location if part != "[key]") or "file"


def _reason(kind: str, message: str) -> str:
    return _PLAIN.get(kind) or message.removeprefix("Value error, ")
