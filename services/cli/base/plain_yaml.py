"""YAML for declarations: by the rules of YAML 1.2, within limits, and without numbers that readers disagree on.

YAML 1.1 reads `050000` as 20480, `no` as false and `10:30` as 630, and YAML 1.2 reads them all otherwise. Money must be
read in one way only: a number is a plain decimal integer, and anything else that either version takes for a number is
refused. Keys are always text, so that `no` may be an id. The rest is the core schema of YAML 1.2 (section 10.3), with
the merge key `<<`, which it does not have and people use.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import yaml

from services.cli.base.exits import InputError

MAX_FILE_BYTES: Final = 64 * 2**20
"""A declaration of a hundred thousand collectives has about a quarter of it."""

MAX_DEPTH: Final = 50
"""Levels of lists and mappings; a declaration has six."""

MAX_REPEATED: Final = 10_000
"""Values that aliases and merges repeat, in total: a few lines could otherwise expand beyond any memory."""

_NULLS: Final = {"", "~", "null", "Null", "NULL"}
_BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,39})")
_INTEGERS: Final = range(-(2**63), 2**63)
"""What every field of the contract can hold at most."""
_NUMBER_SOMEWHERE: Final = re.compile(
    r"[-+]?(?:0[bBoOxX][0-9A-Fa-f_]+|[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?"
    r"|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)"
)
_MERGE: Final = "<<"


def read_yaml(path: Path) -> Any:
    """Returns the content of a YAML file; an empty mapping if it has none.

    Raises:
        InputError: it cannot be read, or `parse_yaml` refuses it.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError.of(str(path), error.strerror or "cannot be read") from None
    if len(content) > MAX_FILE_BYTES:
        raise InputError.of(str(path), f"is larger than {MAX_FILE_BYTES // 2**20} MiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError.of(str(path), "is not UTF-8") from None
    return parse_yaml(text)


def parse_yaml(text: str) -> Any:
    """Returns the content of a YAML text; an empty mapping if it has none.

    Raises:
        InputError: it is not YAML, or has something unsupported: a number that is not a plain decimal integer, a
            tag, a repeated key, a key that is not text, or too many levels or repetitions.
    """
    try:
        content = _content(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError.of(f"line {line}", error.problem or "is not YAML") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # an escape may name a character that does not exist
        raise InputError.of("file", f"is not YAML: {error}") from None
    return {} if content is None else content


@dataclass(slots=True)
class _Open:
    """A list or mapping in progress. `size` counts it and its content; `key` is the one whose value comes next."""

    value: list[Any] | dict[str, Any]
    anchor: str | None
    size: int = 1
    key: str | None = None
    merged: list[dict[str, Any]] = field(default_factory=list)

    def close(self) -> Any:
        """The value, with what is merged into it below its own."""
        if self.merged:
            own = dict(self.value)
            for each in self.merged:
                own = each | own
            self.value = own
        return self.value


class _Reader:
    """Makes values from the events of a YAML stream. Nothing here is recursive, so no depth ends the process."""

    def __init__(self) -> None:
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._repeated = 0
        self._documents = 0
        self.content: Any = None

    def take(self, event: yaml.Event) -> None:
        """Take in the next event."""
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise _refused(event, "a second document starts; there may be only one")
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            self._begin(event)
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            done = self._open.pop()
            self._put(event, done.close(), done.size, done.anchor)

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        _require_no_tag(event)
        if self._open and isinstance(self._open[-1].value, dict) and self._open[-1].key is None:
            raise _refused(event, "a key must be text")
        if len(self._open) == MAX_DEPTH:
            raise _refused(event, f"has more than {MAX_DEPTH} levels")
        self._open.append(_Open([] if isinstance(event, yaml.SequenceStartEvent) else {}, event.anchor))

    def _alias(self, event: yaml.AliasEvent) -> None:
        if event.anchor not in self._anchors:
            raise _refused(event, f"the alias {event.anchor} does not refer to anything before it")
        value, size = self._anchors[event.anchor]
        self._repeated += size
        if self._repeated > MAX_REPEATED:
            raise _refused(event, f"aliases repeat more than {MAX_REPEATED:,} values")
        self._put(event, value, size, None)

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        _require_no_tag(event)
        try:
            event.value.encode()
        except UnicodeEncodeError:
            raise _refused(event, "contains half of a surrogate pair, which is not a character") from None
        is_key = self._open and isinstance(self._open[-1].value, dict) and self._open[-1].key is None
        plain = event.style is None and not is_key
        self._put(event, _resolved(event) if plain else event.value, 1, event.anchor)

    def _put(self, event: yaml.Event, value: Any, size: int, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = value, size
        if not self._open:
            self.content = value
            return
        into = self._open[-1]
        into.size += size
        if isinstance(into.value, list):
            into.value.append(value)
        elif into.key is None:
            if not isinstance(value, str):
                raise _refused(event, "a key must be text")
            if value in into.value:
                raise _refused(event, f"{value[:80]!r} is repeated")
            into.key = value
        else:
            key, into.key = into.key, None
            if key == _MERGE:
                into.merged += _mappings(event, value)
            else:
                into.value[key] = value


def _content(text: str) -> Any:
    reader = _Reader()
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        reader.take(event)
    return reader.content


def _mappings(event: yaml.Event, value: Any) -> list[dict[str, Any]]:
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(each, dict) for each in found):
        raise _refused(event, f"what {_MERGE} merges must be mappings")
    return found


def _resolved(event: yaml.ScalarEvent) -> Any:
    """Returns the value of a scalar without quotes."""
    text: str = event.value
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        if int(text) not in _INTEGERS:
            raise _refused(event, f"{text[:80]} is too large")
        return int(text)
    if _NUMBER_SOMEWHERE.fullmatch(text):
        raise _refused(event, f"{text[:80]} is not an integer in plain decimal; put it in quotes if it is text")
    return text


def _require_no_tag(event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
    if event.tag is not None:
        raise _refused(event, f"the tag {event.tag} is not supported")


def _refused(event: yaml.Event, reason: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=reason, problem_mark=cast(yaml.Mark, event.start_mark))
