"""The client: every verb of the service, typed."""

from __future__ import annotations

from typing import Self

from moiety.connection import Connection
from moiety.verbs.accounts import AccountsVerbs
from moiety.verbs.acts import ActsVerbs
from moiety.verbs.audit import AuditVerbs
from moiety.verbs.limits import LimitsVerbs
from moiety.verbs.registry import RegistryVerbs
from moiety.verbs.revenue import RevenueVerbs
from moiety.verbs.rounds import RoundsVerbs
from moiety.verbs.usage import UsageVerbs


class Client(RegistryVerbs, ActsVerbs, LimitsVerbs, UsageVerbs, RevenueVerbs, AccountsVerbs, RoundsVerbs, AuditVerbs):
    """A connection to a Moiety service, as one principal. Use it as a context manager, or `close` it.

    Verbs take ids (`"folk"`, not `"pools/folk"`) and give the messages of the contract, which `moiety` hands
    on by name. Lists are iterators that ask for pages as they go. Every verb raises `moiety.ServiceError`, or
    the subclass for its status. A call that fails with UNAVAILABLE or ABORTED, or with
    RESOURCE_EXHAUSTED and a time to wait, is made again, with growing pauses, where that is safe.

    Args:
        address: `host:port`.
        api_key: the secret of an API key, which says who is calling.
        ca_certificate: PEM certificates to trust instead of the machine's own.
        insecure: without TLS; allowed to loopback addresses only. By default just where the address is loopback and no
            `ca_certificate` is given.
        timeout_seconds: the most that a call may take, its repetitions included. Streams have no limit.

    Raises:
        ValueError: the API key is not printable ASCII, `insecure` is asked for beyond the loopback, or the CA
            certificate is none.
    """

    def __init__(
        self,
        address: str,
        api_key: str,
        *,
        ca_certificate: bytes | None = None,
        insecure: bool | None = None,
        timeout_seconds: float = 30.0,
    ) -> None:
        super().__init__(
            Connection(
                address,
                api_key,
                ca_certificate=ca_certificate,
                insecure=insecure,
                timeout_seconds=timeout_seconds,
            )
        )

    def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
