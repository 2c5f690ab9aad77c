"""Messages in JSON, by protobuf's mapping (protobuf.dev/programming-guides/json), and no more of it than is clear.

What a body takes to read is bounded before it is read: how many elements it has, and how long its texts and lists are.
A few bytes may say much, and Python has no way to stop reading JSON in between.

protobuf's own reader takes as numbers what Python's `int` and `float` take, such as "1_000" and "1.000", and the last
of a field that is there under both its names. Here both are refused, by the field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, cast

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from ledger.errors import InvalidInputError

JSON_ELEMENTS_MAX: Final = 2**18
"""Commas, and brackets and braces that open. A thousand events of 64 shares have 199,004; reading so many takes half a
second. Those within texts are counted too: no field of the contract has a text with many."""

JSON_LIST_MAX: Final = 10_000
"""Elements of one list in JSON: ten times what any field of the contract takes."""

JSON_TEXT_MAX: Final = 2**18
"""Characters of one text in JSON, where it is no bytes in base64: eight times what any field of the contract takes.
protobuf looks at each of them with Python's lock held."""

_DEPTH: Final = 20
_DIGITS: Final = re.compile(r"-?[0-9]{1,20}")
_FLOAT_MAX: Final = 2.0**53
"""Larger numbers with a point or an exponent may have lost their last digits."""

_RANGES: Final[Mapping[int, tuple[int, int]]] = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def from_json(raw: bytes, kind: type[Message]) -> Message:
    """Returns the message that JSON says.

    Raises:
        InvalidInputError: it is none, or has more elements, a longer list or a longer text than any message has.
    """
    count = sum(map(raw.count, (b",", b"[", b"{")))
    if count > JSON_ELEMENTS_MAX:
        raise InvalidInputError.of("request", f"must have at most {JSON_ELEMENTS_MAX:,} elements, has {count:,}")
    try:
        document = json.loads(raw.decode(), object_pairs_hook=_unrepeated)
        _require_short(document, kind)
        _require_clear(document, cast("Descriptor", kind.DESCRIPTOR), "")
        return json_format.ParseDict(document, kind(), max_recursion_depth=_DEPTH)
    except json_format.ParseError as error:
        raise InvalidInputError.of("request", str(error).partition("\n")[0][:300]) from None
    except (UnicodeDecodeError, RecursionError, ValueError):
        raise InvalidInputError.of("request", "is not JSON in UTF-8") from None


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise json_format.ParseError(f"has the field {name[:80]!r} twice in one object")
        found[name] = value
    return found


def _require_short(document: Any, kind: type[Message]) -> None:
    """Check lists and texts, but for what is bytes in base64."""
    if not isinstance(document, dict):
        raise json_format.ParseError("must be an object")
    fields = kind.DESCRIPTOR.fields
    in_base64 = {
        name for field in fields if field.type == FieldDescriptor.TYPE_BYTES for name in (field.json_name, field.name)
    }
    left = [value for name, value in document.items() if name not in in_base64]
    while left:
        value = left.pop()
        if isinstance(value, str) and len(value) > JSON_TEXT_MAX:
            raise InvalidInputError.of("request", f"has a text of {len(value):,} characters")
        if isinstance(value, list):
            if len(value) > JSON_LIST_MAX:
                raise InvalidInputError.of("request", f"has a list of {len(value):,} elements")
            left += value
        elif isinstance(value, dict):
            left += value.values()


def _require_clear(document: Mapping[str, Any], described: Descriptor, place: str) -> None:
    """Check that each field is there once and each whole number is one, down through all messages. What has another
    form than its field is left to protobuf, which names it.

    Raises:
        InvalidInputError: a field is there twice, or a number is none; it names the field.
    """
    fields = _checked_fields(described)
    names = set()
    for name, value in document.items():
        field = fields.get(name)
        if field is None:
            continue
        if field.name in names:
            raise InvalidInputError.of(f"{place}{field.name}", f"is there twice, as {field.json_name} and {field.name}")
        names.add(field.name)
        if not isinstance(value, list):
            _require_clear_value(value, field, f"{place}{field.name}")
            continue
        for index, element in enumerate(value):
            _require_clear_value(element, field, f"{place}{field.name}[{index}]")


def _require_clear_value(value: Any, field: FieldDescriptor, place: str) -> None:
    if field.message_type:
        if isinstance(value, dict):
            _require_clear(value, field.message_type, f"{place}.")
    elif (bounds := _RANGES.get(field.cpp_type)) and value is not None and not _is_whole(value, *bounds):
        low, high = bounds
        raise InvalidInputError.of(place, f"must be a whole number from {low} to {high}, got {str(value)[:40]!r}")


def _is_whole(value: Any, low: int, high: int) -> bool:
    """Whether JSON's value is a whole number within bounds: a number, or a text of digits."""
    if isinstance(value, float):
        return value.is_integer() and abs(value) <= _FLOAT_MAX and low <= value <= high
    is_written = isinstance(value, str) and _DIGITS.fullmatch(value)
    return bool(is_written or (isinstance(value, int) and not isinstance(value, bool))) and low <= int(value) <= high


@cache
def _checked_fields(described: Descriptor) -> Mapping[str, FieldDescriptor]:
    """A message's fields by both their names."""
    return {name: field for field in described.fields for name in (field.json_name, field.name)}
