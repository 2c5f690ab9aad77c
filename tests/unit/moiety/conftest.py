"""A far end over real gRPC, and a client of it that does not pause for long."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from moiety import Client, patience
from tests.support.far_end import FarEnd, listening


@pytest.fixture
def far_end() -> FarEnd:
    return FarEnd()  # type: ignore[abstract]  # it answers the calls that these tests make


@pytest.fixture
def client(far_end: FarEnd, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr(patience, "DELAY_SECONDS_FIRST", 0.001)
    with listening(far_end) as address, Client(address, "secret") as client:
        yield client
