"""The clients: every verb of the service, typed."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self, cast

from moiety import awaiting, blocking
from moiety.channels import pair_of, target_of
from moiety.connection import Connection
from moiety.verbs.accounts import AccountsVerbs
from moiety.verbs.acts import ActsVerbs
from moiety.verbs.audit import AuditVerbs
from moiety.verbs.base import Awaited, Blocking
from moiety.verbs.limits import LimitsVerbs
from moiety.verbs.payments import PaymentsVerbs
from moiety.verbs.revenue import RevenueVerbs
from moiety.verbs.rounds import RoundsVerbs
from moiety.verbs.usage import UsageVerbs
from moiety.verbs.webhooks import WebhooksVerbs

if TYPE_CHECKING:
    import grpc

TIMEOUT_SECONDS: Final = 60.0
"""How long a call may take by default: longer than a restart of the service."""


class AllVerbs(
    UsageVerbs, ActsVerbs, LimitsVerbs, RevenueVerbs, AccountsVerbs, PaymentsVerbs, RoundsVerbs, AuditVerbs,
    WebhooksVerbs,
):  # fmt: skip
    """Every verb of the service."""


class Client(Blocking, AllVerbs):
    """A connection to a Moiety service, as one principal. Use it as a context manager, or `close` it.

    Verbs take ids (`"folk"`, not `"pools/folk"`) and return the messages of the contract, which `moiety` hands
    on by name. Lists are iterators that ask for pages as they go. Every verb raises `moiety.ServiceError`, or
    the subclass for its status. A call that fails with UNAVAILABLE or ABORTED, or with
    RESOURCE_EXHAUSTED and a time to wait, is made again, with growing random pauses, where that is safe and until
    `timeout_seconds` are over.

    Args:
        address: `host:port`.
        api_key: the secret of an API key, which says who is calling. None is needed with a client certificate.
        ca_certificate: PEM certificates to trust instead of the machine's own.
        client_certificate: the PEM chain of a certificate that is registered as a key, for the service's mTLS port.
        client_key: its private key in PEM.
        insecure: without TLS; allowed to loopback addresses only. By default just where the address is loopback and no
            certificate is given.
        timeout_seconds: the most that a call may take, its repetitions included. A submission may take as long as each
            batch is answered within it, and a stream of answers as long as there is work.

    Raises:
        ValueError: the address is empty or a URL, there is neither an API key nor a client certificate, the key is not
            printable ASCII, `insecure` is asked for beyond the loopback or with a client certificate, a certificate is
            invalid, or `timeout_seconds` is not more than 0 and at most 100,000,000.
    """

    def __init__(
        self,
        address: str,
        api_key: str = "",
        *,
        ca_certificate: bytes | None = None,
        client_certificate: bytes | None = None,
        client_key: bytes | None = None,
        insecure: bool | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        pair = pair_of(client_certificate, client_key)
        target = target_of(address, api_key, ca_certificate=ca_certificate, pair=pair, insecure=insecure)
        channel = blocking.channel_to(target)
        super().__init__(Connection(lambda: channel, target.metadata, timeout_seconds))

    def close(self) -> None:
        """Close the connection; calls in progress are cancelled."""
        self._connection.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(Awaited, AllVerbs):
    """The same for asyncio: each verb is awaited, and each list is an asynchronous iterator.

        async with moiety.AsyncClient("127.0.0.1:50051", api_key) as client:
            receipts = await client.submit_usage("folk", table, "melody-ngram")
            async for pool in client.list_pools():
                print(pool.name)

    Tables are read and encoded in another thread, so that the event loop goes on. It belongs to the event loop in which
    its first call is made. To cancel a task cancels its call; what it had sent may be recorded nevertheless.

    Args:
        address: as in `Client`, and so are the others.
        api_key: as in `Client`.
        ca_certificate: as in `Client`.
        client_certificate: as in `Client`.
        client_key: as in `Client`.
        insecure: as in `Client`.
        timeout_seconds: as in `Client`.

    Raises:
        ValueError: as in `Client`.
    """

    def __init__(
        self,
        address: str,
        api_key: str = "",
        *,
        ca_certificate: bytes | None = None,
        client_certificate: bytes | None = None,
        client_key: bytes | None = None,
        insecure: bool | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        pair = pair_of(client_certificate, client_key)
        self._target = target_of(address, api_key, ca_certificate=ca_certificate, pair=pair, insecure=insecure)
        super().__init__(Connection(lambda: self._channel, self._target.metadata, timeout_seconds))

    @cached_property
    def _channel(self) -> grpc.Channel:
        return cast("grpc.Channel", awaiting.channel_to(self._target))  # its calls are what `moiety.awaiting` awaits

    async def close(self) -> None:
        """Close the connection; calls in progress are cancelled."""
        if "_channel" in vars(self):
            channel: Any = self._channel
            await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
