"""What `moiety apply` declares: platforms, collectives and pools with their policies, memberships, methods, schedules.

A declaration states the whole content of each thing that it names; what it leaves out has its default. Things
that it does not name are left as they are. docs/examples/pool.yaml is one, with every field.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError, model_validator

from ledger.registry import NANO, PPM
from ledger.usage.methods import ScoreKind, ScoreOrder
from moiety import DomainMap, InvalidDomainError, Violation
from payout.policy import Policy
from services.cli.base.exits import InputError

Model = TypeVar("Model", bound=BaseModel)


class _Declared(BaseModel):
    """Closed and strict: a field that is not known is refused, and a number is not text."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Platform(_Declared):
    """A platform, by id."""

    display_name: str


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
    membership: str = ""

    @model_validator(mode="after")
    def _has_a_kind(self) -> Self:
        for name in ("score_order", "coverage_nano", "membership"):
            if self.score_kind is None and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is for methods with a score_kind")
        return self


class Schedule(_Declared):
    """When a pool's rounds are cut."""

    cron: str
    time_zone: str
    paused: bool = False


class Pool(_Declared):
    """A pool, by id, with what belongs to it. Without a schedule, rounds are cut by hand."""

    display_name: str
    currency: str
    policy: Policy
    memberships: dict[str, str] = Field(default_factory=dict)
    """By id the CSV file that says it, whose name is relative to that of the declaration."""
    methods: dict[str, Method] = Field(default_factory=dict)
    schedule: Schedule | None = None


class Declaration(_Declared):
    """Everything that a file declares, or that a service has."""

    platforms: dict[str, Platform] = Field(default_factory=dict)
    collectives: dict[str, Collective] = Field(default_factory=dict)
    pools: dict[str, Pool] = Field(default_factory=dict)


def read_declaration(path: Path) -> Declaration:
    """Give what a YAML file declares, with domains as the service has them.

    Raises:
        InputError: the file cannot be read, or is no declaration; names each field that is wrong.
    """
    return _declaration(read_yaml(path))


def read_policy(path: Path) -> Policy:
    """Give the policy in a YAML file: the fields that stand under `policy` in a declaration.

    Raises:
        InputError: the file cannot be read, or is no policy; names each field that is wrong.
    """
    return validated(Policy, read_yaml(path))


def parse_declaration(text: str) -> Declaration:
    """Give what a YAML text declares, with domains as the service has them.

    Raises:
        InputError: it is no declaration; names each field that is wrong.
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
    """Give the map that the domains of each collective make.

    Raises:
        InputError: a domain is none, or two collectives declare it; names the collective.
    """
    try:
        return DomainMap(domains)
    except InvalidDomainError as error:
        raise InputError.of(f"collectives.{error.collective}.domains", f"{error.domain!r} {error.reason}") from None


def read_yaml(path: Path) -> Any:
    """Give the content of a YAML file; an empty mapping where it has none.

    Raises:
        InputError: it cannot be read, or is not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError.of(str(path), error.strerror or "cannot be read") from None
    except UnicodeDecodeError:
        raise InputError.of(str(path), "is not UTF-8") from None
    return parse_yaml(text)


def parse_yaml(text: str) -> Any:
    """Give the content of a YAML text; an empty mapping where it has none.

    Raises:
        InputError: it is not YAML.
    """
    try:
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader that refuses repeated keys
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError.of(f"line {line}", error.problem or "is not YAML") from None
    except yaml.YAMLError as error:
        raise InputError.of("file", f"is not YAML: {error}") from None
    return {} if content is None else content


def validated(model: type[Model], content: Any) -> Model:
    """Give the content as a model.

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
    return ".".join(str(part) for part in location if part != "[key]") or "file"


def _reason(kind: str, message: str) -> str:
    plain = {"extra_forbidden": "is not a known field", "missing": "is missing"}
    return plain.get(kind) or message.removeprefix("Value error, ")


class _Loader(yaml.SafeLoader):
    """YAML without repeated keys: the second would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        problem=f"{key.value!r} stands twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)
