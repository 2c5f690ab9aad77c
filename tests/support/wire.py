"""The contract without the SDK: no retries, no translation, whatever bytes and keys a stranger may send."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Self, cast

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.api.contract import CONTRACT

METHODS: Final[dict[str, MethodDescriptor]] = {
    f"{service.name}/{method.name}": method
    for file in CONTRACT
    for service in file.services_by_name.values()
    for method in service.methods
}
"""Every method of the contract, by `Service/Method`."""

_DETAILS: Final = (
    error_details_pb2.BadRequest,
    error_details_pb2.ErrorInfo,
    error_details_pb2.PreconditionFailure,
    error_details_pb2.QuotaFailure,
    error_details_pb2.RequestInfo,
    error_details_pb2.ResourceInfo,
    error_details_pb2.RetryInfo,
)


def request_of(method: str, /, **fields: Any) -> Any:
    """A request of a method."""
    return message_factory.GetMessageClass(METHODS[method].input_type)(**fields)


@dataclass(frozen=True)
class Refusal:
    """A status other than OK as it came, its details by the name of their type."""

    code: grpc.StatusCode
    message: str
    details: dict[str, Any]

    @property
    def reason(self) -> str:
        return str(self.details["ErrorInfo"].reason)

    @property
    def fields(self) -> list[str]:
        return [violation.field for violation in self.details["BadRequest"].field_violations]


def refusal_of(status: status_pb2.Status) -> Refusal:
    details = {}
    for packed in status.details:
        for kind in _DETAILS:
            if packed.Is(kind.DESCRIPTOR):
                details[kind.DESCRIPTOR.name] = kind.FromString(packed.value)
    (code,) = (code for code in grpc.StatusCode if code.value[0] == status.code)
    return Refusal(code, status.message, details)


def refused(call: Callable[[], object]) -> Refusal:
    """What the call is refused with."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    status = rpc_status.from_call(cast("grpc.Call", caught.value))
    if status is not None:
        return refusal_of(status)
    code: grpc.StatusCode = caught.value.code()
    return Refusal(code, caught.value.details() or "", {})


class Wire:
    """A channel of its own."""

    def __init__(self, address: str, key: str = "", *, credentials: grpc.ChannelCredentials | None = None) -> None:
        options = [("grpc.enable_http_proxy", 0)]
        self.channel = (
            grpc.secure_channel(address, credentials, options)
            if credentials
            else grpc.insecure_channel(address, options)
        )
        self.metadata: tuple[tuple[str, str], ...] = (("authorization", f"Bearer {key}"),) if key else ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def call(self, method: str, request: Message | None = None, /, **fields: Any) -> Any:
        """The response, or the list of them where they stream. Fields make a request where none is given."""
        asked = request_of(method, **fields) if request is None else request
        opened = self.open(method, [asked] if METHODS[method].client_streaming else asked)
        return list(opened) if METHODS[method].server_streaming else opened.result()

    def open(self, method: str, requests: Message | Iterable[Message], *, timeout: float = 240) -> Any:
        """The call under way: a future of the response, or an iterator of them."""
        descriptor = METHODS[method]
        path = f"/{descriptor.containing_service.full_name}/{descriptor.name}"
        response = message_factory.GetMessageClass(descriptor.output_type)
        kinds = (
            "stream" if streams else "unary" for streams in (descriptor.client_streaming, descriptor.server_streaming)
        )
        make: Any = getattr(self.channel, "_".join(kinds))
        stub = make(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )
        start = stub if descriptor.server_streaming else stub.future
        return start(
            requests if isinstance(requests, Message) else iter(requests), metadata=self.metadata, timeout=timeout
        )
