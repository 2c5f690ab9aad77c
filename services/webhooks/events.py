"""Leaves as events: CloudEvents 1.0 in structured JSON."""

from __future__ import annotations

import json
from typing import Any, Final

from ledger.log.canonical import canonical
from ledger.log.leaves import EncodedLeaf
from ledger.log.origins import log_origin

CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
TYPE_PREFIX: Final = "moiety."
TEST: Final = "moiety.test"


def event_of(deployment: str, log: str, leaf: EncodedLeaf, *, shows_entry: bool) -> bytes:
    """Returns the event of a leaf, in canonical JSON, so that its `data` are the very bytes that the leaf hashes.

    Args:
        deployment: the deployment's origin.
        log: the log's name.
        leaf: the leaf.
        shows_entry: whether the receiver may see what it says; otherwise it comes by its hash alone.
    """
    entry: dict[str, Any] = json.loads(leaf.entry)
    event = {
        **_envelope(deployment, log, f"{log}/{leaf.index}", entry["type"]),
        "time": entry["time"],
        "sequence": f"{leaf.index:019d}",
        "leafhash": leaf.hash.hex(),
    }
    if shows_entry:
        event |= {"datacontenttype": "application/json", "data": entry}
    return canonical(event)


def test_event(deployment: str, log: str, identity: str, time: str) -> bytes:
    """Returns an event that says nothing."""
    event = {**_envelope(deployment, log, identity, "test"), "time": time}
    return canonical(event | {"datacontenttype": "application/json", "data": {}})


def _envelope(deployment: str, log: str, identity: str, kind: str) -> dict[str, Any]:
    origin = log_origin(deployment, log)
    return {"specversion": "1.0", "id": identity, "source": origin, "type": f"{TYPE_PREFIX}{kind}"}
