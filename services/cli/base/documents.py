"""The contract's messages as plain data, and back: for `--json`, for tables and for comparing.

Field names are the contract's. Integers stay integers, bytes are hexadecimal, times ISO 8601, enum values have no
prefix (`POSTED`), and unset fields are null.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any, TypeVar

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

Document = dict[str, Any]
M = TypeVar("M", bound=Message)


def document(message: Message) -> Document:
    """Returns a message as plain data, with all its fields in order."""
    return {field.name: _field_value(message, field) for field in message.DESCRIPTOR.fields}


def message_of(kind: type[M], values: Mapping[str, Any]) -> M:
    """Returns a message with these field values; None leaves a field unset, enum values have no prefix."""
    fields = kind.DESCRIPTOR.fields_by_name
    found = {name: _from_value(value, fields[name]) for name, value in values.items() if value is not None}
    return kind(**found)


def identity(name: str) -> str:
    """The last part of a resource name: `irish` of `collectives/irish`."""
    return name.rpartition("/")[2]


def _field_value(message: Message, field: Any) -> Any:
    if field.message_type and field.message_type.GetOptions().map_entry:
        return dict(getattr(message, field.name))
    if field.is_repeated:
        return [_value(item, field) for item in getattr(message, field.name)]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _value(getattr(message, field.name), field)


def _value(value: Any, field: Any) -> Any:
    if isinstance(value, Timestamp):
        return value.ToDatetime(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, Struct):
        return MessageToDict(value)
    if isinstance(value, Message):
        return document(value)
    if isinstance(value, bytes):
        return value.hex()
    if field.enum_type:
        return _word(field.enum_type, value)
    return value


def _word(enum: EnumDescriptor, number: int) -> str | int | None:
    """The name of an enum value without the prefix that all of them share; None for the unspecified one."""
    if number == 0:
        return None
    value = enum.values_by_number.get(number)  # a newer service may know values that are unknown here
    return value.name.removeprefix(_prefix(enum)) if value else number


def _prefix(enum: EnumDescriptor) -> str:
    return enum.values_by_number[0].name.removesuffix("UNSPECIFIED")


def _from_value(value: Any, field: Any) -> Any:
    return _prefix(field.enum_type) + value if field.enum_type else value
