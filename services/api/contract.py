"""The contract's services, put together once for whatever carries their calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import Message

from moiety.v1 import (
    accounts_pb2,
    accounts_pb2_grpc,
    acts_pb2,
    acts_pb2_grpc,
    audit_pb2,
    audit_pb2_grpc,
    limits_pb2,
    limits_pb2_grpc,
    payments_pb2,
    payments_pb2_grpc,
    registry_pb2,
    registry_pb2_grpc,
    revenue_pb2,
    revenue_pb2_grpc,
    rounds_pb2,
    rounds_pb2_grpc,
    usage_pb2,
    usage_pb2_grpc,
    webhooks_pb2,
    webhooks_pb2_grpc,
)
from services.api.accounts import AccountsService
from services.api.acts import ActsService
from services.api.audit.service import AuditService
from services.api.audit.watches import Watches
from services.api.calls.streams import CallLimits
from services.api.calls.together import Together
from services.api.limits import LimitsService
from services.api.payments.service import PaymentsService
from services.api.registry.service import RegistryService
from services.api.revenue import RevenueService
from services.api.rounds.service import RoundsService
from services.api.usage.service import UsageService
from services.api.usage.submissions import SUBMIT_USAGE
from services.api.webhooks import WebhooksService
from services.parts import Parts

_MODULES: Final = (
    registry_pb2, acts_pb2, limits_pb2, usage_pb2, revenue_pb2, accounts_pb2, payments_pb2, rounds_pb2, audit_pb2,
    webhooks_pb2,
)  # fmt: skip
CONTRACT: Final[tuple[FileDescriptor, ...]] = tuple(module.DESCRIPTOR for module in _MODULES)

CALLS_PER_THREAD: Final = 16
"""Calls under way over HTTP, those that wait for a thread included. Those beyond them are refused at once with
RESOURCE_EXHAUSTED: a queue without a bound answers nobody in time, and grows until the memory ends."""


def service_names() -> list[str]:
    """The full names of the contract's services."""
    return [service.full_name for file in CONTRACT for service in file.services_by_name.values()]


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the contract.

    Attributes:
        path: `/moiety.v1.RoundsService/GetRound`.
        request: the class of its requests.
        answer: the handler, which takes a request, or an iterator of them, and a context that none of ours looks at.
        client_streaming: whether it takes many requests.
        server_streaming: whether it gives many responses.
    """

    path: str
    request: type[Message]
    answer: Callable[[Any, Any], Any]
    client_streaming: bool
    server_streaming: bool


class Services:
    """One handler of each service on the parts, and the limits that hold for their calls."""

    def __init__(self, parts: Parts) -> None:
        self.limits: Final = CallLimits(parts.settings.threads)
        self.watches: Final = Watches(parts.database, parts.readers)
        self._usage = UsageService(parts, self.limits.large)
        self._audit = AuditService(parts, self.watches)
        accounts = AccountsService(parts)
        self.together: Final[dict[str, Together]] = {
            "/moiety.v1.AccountsService/GetBalance": accounts.balances,
            SUBMIT_USAGE: self._usage.submissions,
        }
        """How calls of some methods are done with others of their kind."""
        self._each: dict[str, Any] = {
            "RegistryService": RegistryService(parts),
            "ActsService": ActsService(parts),
            "LimitsService": LimitsService(parts),
            "UsageService": self._usage,
            "RevenueService": RevenueService(parts),
            "AccountsService": accounts,
            "PaymentsService": PaymentsService(parts),
            "RoundsService": RoundsService(parts),
            "AuditService": self._audit,
            "WebhooksService": WebhooksService(parts),
        }

    def add_to(self, server: grpc.Server) -> None:
        """Have a gRPC server carry all of them."""
        each = self._each
        registry_pb2_grpc.add_RegistryServiceServicer_to_server(each["RegistryService"], server)
        acts_pb2_grpc.add_ActsServiceServicer_to_server(each["ActsService"], server)
        limits_pb2_grpc.add_LimitsServiceServicer_to_server(each["LimitsService"], server)
        usage_pb2_grpc.add_UsageServiceServicer_to_server(each["UsageService"], server)
        revenue_pb2_grpc.add_RevenueServiceServicer_to_server(each["RevenueService"], server)
        accounts_pb2_grpc.add_AccountsServiceServicer_to_server(each["AccountsService"], server)
        payments_pb2_grpc.add_PaymentsServiceServicer_to_server(each["PaymentsService"], server)
        rounds_pb2_grpc.add_RoundsServiceServicer_to_server(each["RoundsService"], server)
        audit_pb2_grpc.add_AuditServiceServicer_to_server(each["AuditService"], server)
        webhooks_pb2_grpc.add_WebhooksServiceServicer_to_server(each["WebhooksService"], server)

    def methods(self) -> dict[str, Method]:
        """Every method by its path."""
        found = (
            Method(
                f"/{service.full_name}/{method.name}",
                message_factory.GetMessageClass(method.input_type),
                getattr(self._each[service.name], method.name),
                method.client_streaming,
                method.server_streaming,
            )
            for file in CONTRACT
            for service in file.services_by_name.values()
            for method in service.methods
        )
        return {method.path: method for method in found}

    def begin_drain(self) -> None:
        """End what would go on for as long as its caller likes."""
        self.watches.close()

    def close(self) -> None:
        """Finish the batches under way."""
        self._usage.close()
        self._audit.close()
