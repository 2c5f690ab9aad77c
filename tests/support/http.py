"""HTTP without a library: what a stranger, a browser or curl may send, and what comes back."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answered:
    """An answer over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


def ask(
    address: str,
    path: str,
    body: bytes | Iterable[bytes] | None = None,
    *,
    method: str = "",
    key: str = "",
    **headers: Any,
) -> Answered:
    """Ask once, on a connection of its own. Headers are named with underscores."""
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=120)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if key:
        named["authorization"] = f"Bearer {key}"
    try:
        connection.request(method or ("GET" if body is None else "POST"), path, body, named)
        answer = connection.getresponse()
        return Answered(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def call(address: str, method: str, key: str = "", /, **fields: Any) -> Answered:
    """Make a call of the contract in JSON, as curl would."""
    path = f"/moiety.v1.{method}"
    return ask(address, path, json.dumps(fields).encode(), key=key, content_type="application/json")
