"""A log: its leaves with bodies and proofs, and what witnesses say of it."""

from __future__ import annotations

import json
from typing import Any, Final

from starlette.responses import Response

from ledger.errors import NotFoundError, StateError
from moiety.v1 import audit_pb2
from services.console.views.pools import checkpoint_of, pool_of
from services.console.visit import PageMissingError, Visit

MOST_DIGITS: Final = 15


def leaf(visit: Visit) -> Response:
    """One leaf: its entry where the reader may see it, and the proof that it is in the log for everyone."""
    pool = pool_of(visit)
    return _leaf(visit, pool.name)


def _leaf(visit: Visit, log: str) -> Response:
    index = _number(visit.ids["leaf"])
    entry: dict[str, Any] | None = None
    size = 0
    if visit.is_reader():
        size = visit.call("AuditService/GetLogHead", audit_pb2.GetLogHeadRequest(parent=log)).size
        if index >= size:
            raise PageMissingError
        request = audit_pb2.ListLeavesRequest(parent=log, start=index, page_size=1)
        entry = json.loads(visit.call("AuditService/ListLeaves", request).leaves[0].entry)
    try:
        proof = visit.call(
            "AuditService/GetInclusionProof", audit_pb2.GetInclusionProofRequest(parent=log, leaf_index=index)
        )
    except (StateError, NotFoundError):
        proof = None
    return visit.page(
        "leaf.html",
        log=log,
        index=index,
        entry=entry,
        shown_entry=json.dumps(entry, indent=2, ensure_ascii=False) if entry else "",
        bodies=sorted(_bodies(entry or {})),
        proof=proof,
        size=size,
        checkpoint=proof.checkpoint if proof else checkpoint_of(visit, log),
    )


def _bodies(entry: dict[str, Any]) -> list[tuple[str, str]]:
    """The fields of an entry, and of its content, that name bodies by their hash."""
    found = []
    for name, value in entry.items():
        if isinstance(value, dict):
            found += _bodies(value)
        elif name.endswith("_sha256") and isinstance(value, str):
            found.append((name, value))
    return found


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > MOST_DIGITS:
        raise PageMissingError
    return int(text)
