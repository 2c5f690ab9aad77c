"""The contract's calls, made in this process by whoever is signed in: the same handlers, rights, limits and logs."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from services.access.keyring import KeyRing
from services.access.keys import Caller
from services.api.calls.call import Call, require_fields
from services.api.contract import Services


class Calls:
    """Makes calls."""

    def __init__(self, services: Services, keyring: KeyRing) -> None:
        self._methods = services.methods()
        self._limits = services.limits
        self._keyring = keyring

    def make(self, caller: Caller, method: str, request: Message, request_id: str) -> Any:
        """Returns the response, or the list of responses where there are many.

        Args:
            caller: who calls.
            method: service and method, `RoundsService/GetRound`.
            request: its message.
            request_id: what logs name the visit by.

        Raises:
            LedgerError: what the handler or the caller's rights say against it.
        """
        found = self._methods[f"/moiety.v1.{method}"]
        call = Call(self._keyring, found.path, "console", (), request_id, signed_in=lambda: caller)
        limit = self._limits.streams if found.server_streaming else self._limits.calls
        try:
            call.enter()
            require_fields(request)
            with limit.one(call.principal) as call.stream:
                answer = found.answer(request, None)
                response = list(answer) if found.server_streaming else answer
        except Exception as error:
            call.refused(error)
            raise
        call.done()
        return response
