"""What every conversion needs: times, and enums that are open on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from ledger.errors import InvalidInputError


def timestamp(moment: datetime | None) -> Timestamp | None:
    """Returns a time as a protobuf timestamp; None stays None, which leaves a field unset."""
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def enum_name(kind: Any, number: int, unspecified: str, field: str) -> str:
    """Returns a value's name without the prefix that all values of its enum share.

    Raises:
        InvalidInputError: the enum has no such value: enums are open.
    """
    if number not in kind.values():
        raise InvalidInputError.of(field, "is not a value of %(kind)s: %(got)s", kind=kind.DESCRIPTOR.name, got=number)
    if not number:
        return unspecified
    name: str = kind.Name(number)
    return name.removeprefix(kind.Name(0).removesuffix("UNSPECIFIED"))
