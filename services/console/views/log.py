"""A log: its leaves with bodies and proofs, what witnesses say of it, and whether it only grew since the last visit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from starlette.responses import Response

from ledger.errors import NotFoundError, ProofError, StateError
from ledger.log.merkle import verify_consistency
from moiety.v1 import audit_pb2
from services.console import cookies
from services.console.views.pools import PAGE, checkpoint_of
from services.console.views.proposals import log_of
from services.console.visit import PageMissingError, Visit

MOST_DIGITS: Final = 15

_SEEN: Final = re.compile(r"([0-9]{1,15})\.([0-9a-f]{64})")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def explore(visit: Visit) -> Response:
    """A log's leaves, the newest first, and whether the log that was seen last is still in it."""
    log = log_of(visit)
    head = visit.call("AuditService/GetLogHead", audit_pb2.GetLogHeadRequest(parent=log))
    asked = visit.query.get("before", "")
    end = min(_number(asked), head.size) if asked else head.size
    start = max(0, end - PAGE)
    leaves = []
    if end > start:
        request = audit_pb2.ListLeavesRequest(parent=log, start=start, page_size=end - start)
        leaves = list(visit.call("AuditService/ListLeaves", request).leaves)
    entries = [(each.index, json.loads(each.entry)) for each in reversed(leaves)]
    page = visit.page(
        "log.html",
        log=log,
        head=head,
        entries=entries,
        older=start,
        newer=min(head.size, end + PAGE) if end < head.size else 0,
        checkpoint=checkpoint_of(visit, log),
        since=_since(visit, log, head),
    )
    return cookies.keep(page, _cookie(log), f"{head.size}.{head.root.hex()}")


def _cookie(log: str) -> str:
    return "moiety_seen_" + log.replace("/", "_")


def _since(visit: Visit, log: str, head: Any) -> dict[str, Any] | None:
    """Whether the log has what this browser saw of it last; None at the first visit."""
    seen = _SEEN.fullmatch(visit.cookies.get(_cookie(log), ""))
    if not seen or not int(seen[1]):
        return None
    size, root = int(seen[1]), bytes.fromhex(seen[2])
    found = {"size": size, "root": root, "new": head.size - size, "holds": False}
    if size > head.size:
        return found
    if size == head.size:
        return {**found, "holds": root == head.root}
    request = audit_pb2.GetConsistencyProofRequest(parent=log, old_size=size, new_size=head.size)
    proof = visit.call("AuditService/GetConsistencyProof", request)
    try:
        verify_consistency(size, head.size, root, head.root, list(proof.hashes))
    except ProofError:
        return found
    return {**found, "holds": True}


def leaf(visit: Visit) -> Response:
    """One leaf: its entry where the reader may see it, and the proof that it is in the log for everyone."""
    log, index = log_of(visit), _number(visit.ids["leaf"])
    entry: dict[str, Any] = {}
    if visit.is_reader():
        if index >= visit.call("AuditService/GetLogHead", audit_pb2.GetLogHeadRequest(parent=log)).size:
            raise PageMissingError
        request = audit_pb2.ListLeavesRequest(parent=log, start=index, page_size=1)
        entry = json.loads(visit.call("AuditService/ListLeaves", request).leaves[0].entry)
    try:
        asked = audit_pb2.GetInclusionProofRequest(parent=log, leaf_index=index)
        proof = visit.call("AuditService/GetInclusionProof", asked)
    except (StateError, NotFoundError):
        proof = None
    return visit.page(
        "leaf.html",
        log=log,
        index=index,
        entry=entry,
        shown_entry=json.dumps(entry, indent=2, ensure_ascii=False),
        bodies=sorted(_bodies(entry)),
        proof=proof,
        checkpoint=proof.checkpoint if proof else checkpoint_of(visit, log),
    )


def body(visit: Visit) -> Response:
    """A body that a leaf commits to, as a file."""
    log, digest = log_of(visit), visit.ids["digest"]
    if not _SHA256.fullmatch(digest):
        raise PageMissingError
    request = audit_pb2.GetBodyRequest(parent=log, sha256=bytes.fromhex(digest))
    content = b"".join(each.chunk for each in visit.call("AuditService/GetBody", request))
    headers = {"content-disposition": f'attachment; filename="{digest[:16]}"'}
    return Response(content, 200, headers, "application/octet-stream")


def _bodies(entry: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The fields of an entry, and of what it holds, that name bodies by their hash."""
    for name, value in entry.items():
        if isinstance(value, dict):
            yield from _bodies(value)
        elif name.endswith("_sha256") and isinstance(value, str) and _SHA256.fullmatch(value):
            yield name, value


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > MOST_DIGITS:
        raise PageMissingError
    return int(text)
