"""The ways of carrying calls over HTTP, by the content type that names them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from google.protobuf import json_format
from google.protobuf.message import Message


@dataclass(frozen=True, slots=True)
class Codec:
    """How messages are written."""

    name: str
    write: Callable[[Message], bytes]


def _json(message: Message) -> bytes:
    return json_format.MessageToJson(message, indent=None, ensure_ascii=False).encode()


PROTO: Final = Codec("proto", lambda message: message.SerializeToString())
JSON: Final = Codec("json", _json)


@dataclass(frozen=True, slots=True)
class Dialect:
    """A way of carrying calls, as its content type says.

    Attributes:
        content_type: of the answer, where it is of messages.
        codec: how messages are written.
        is_web: whether it is gRPC-Web; otherwise it is Connect.
        is_stream: whether messages have envelopes.
        is_text: whether all of it is in base64.
    """

    content_type: str
    codec: Codec
    is_web: bool = False
    is_stream: bool = False
    is_text: bool = False


DIALECTS: Final = {
    "application/json": Dialect("application/json", JSON),
    "application/proto": Dialect("application/proto", PROTO),
    "application/connect+json": Dialect("application/connect+json", JSON, is_stream=True),
    "application/connect+proto": Dialect("application/connect+proto", PROTO, is_stream=True),
    "application/grpc-web": Dialect("application/grpc-web+proto", PROTO, is_web=True, is_stream=True),
    "application/grpc-web+proto": Dialect("application/grpc-web+proto", PROTO, is_web=True, is_stream=True),
    "application/grpc-web-text": Dialect("application/grpc-web-text+proto", PROTO, True, True, True),
    "application/grpc-web-text+proto": Dialect("application/grpc-web-text+proto", PROTO, True, True, True),
}
