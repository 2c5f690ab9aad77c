"""A report on a whole log: what was signed and whether it only grew, and the last rounds recomputed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from starlette.responses import Response

from ledger.errors import FormatError, ProofError, SignatureError
from ledger.log.checkpoint import Checkpoint
from ledger.log.merkle import verify_consistency
from ledger.log.note_keys import VerifierKey
from ledger.log.notes import open_note
from moiety.v1 import audit_pb2, rounds_pb2
from services.console.texts import marked
from services.console.views.pools import last_rounds
from services.console.views.proposals import log_of
from services.console.visit import Visit

CHECKPOINTS: Final = 20
"""The last checkpoints whose signatures are looked at, and of which each must be the beginning of the next."""

ROUNDS: Final = 12
"""The last rounds that are recomputed: a year of months. A command does all of them."""

_SIGNED: Final = marked("The first %(size)s entries were signed")
_GREW: Final = marked("They only grew, from %(old)s entries to %(size)s")
_RECOMPUTED: Final = marked("Round %(number)s, recomputed from the log and the bodies")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked.

    Attributes:
        text: what, with places for `figures`.
        figures: whole numbers.
        holds: whether it is so.
        said: what is wrong; who signed, where nothing is.
        leaf_index: the leaf that it is about, if it is about one.
    """

    text: str
    figures: dict[str, int]
    holds: bool
    said: str = ""
    leaf_index: int | None = None


def show(visit: Visit) -> Response:
    """What would be checked, and a button: a log of many events takes a while."""
    log = log_of(visit)
    return visit.page("log_report.html", log=log, checks=None, at=None, rounds_most=ROUNDS)


def make(visit: Visit) -> Response:
    """Check it now, and show the report."""
    log = log_of(visit)
    checks = [*_signed(visit, log), *(_recomputed(visit) if "pool" in visit.shown else ())]
    return visit.page("log_report.html", log=log, checks=checks, at=visit.parts.clock(), rounds_most=ROUNDS)


def _signed(visit: Visit, log: str) -> Iterator[Check]:
    """The last checkpoints, the oldest first: their signatures, and that each log is the beginning of the next one."""
    request = audit_pb2.ListCheckpointsRequest(parent=log, page_size=CHECKPOINTS, newest_first=True)
    listed = visit.call("AuditService/ListCheckpoints", request).checkpoints
    found = [(each, _opened(each)) for each in sorted(listed, key=lambda each: int(each.size))]
    for each, opened in found:
        said = each.verifier_key if opened else ""
        yield Check(_SIGNED, {"size": each.size}, opened is not None, said)
    head = visit.call("AuditService/GetLogHead", audit_pb2.GetLogHeadRequest(parent=log))
    sizes = [(opened.size, opened.root) for _, opened in found if opened is not None]
    for (old, old_root), (size, root) in pairwise([*sizes, (int(head.size), bytes(head.root))]):
        yield Check(_GREW, {"old": old, "size": size}, _is_beginning(visit, log, old, old_root, size, root))


def _opened(checkpoint: Any) -> Checkpoint | None:
    """What a checkpoint says, if it is signed by the key that it names and is of the size that it is listed with."""
    try:
        said = Checkpoint.parse(open_note(checkpoint.note, [VerifierKey.parse(checkpoint.verifier_key)]).text)
    except (FormatError, SignatureError):
        return None
    return said if said.size == checkpoint.size else None


def _is_beginning(visit: Visit, log: str, old: int, old_root: bytes, size: int, root: bytes) -> bool:
    if old >= size:
        return (old, old_root) == (size, root)
    request = audit_pb2.GetConsistencyProofRequest(parent=log, old_size=old, new_size=size)
    proof = visit.call("AuditService/GetConsistencyProof", request)
    try:
        verify_consistency(old, size, old_root, root, list(proof.hashes))
    except ProofError:
        return False
    return True


def _recomputed(visit: Visit) -> Iterator[Check]:
    """The last posted rounds, the oldest first."""
    rounds = last_rounds(visit, visit.shown["pool"], ROUNDS)
    for each in sorted(rounds, key=lambda found: int(found.number)):
        if each.state != rounds_pb2.ROUND_STATE_POSTED:
            continue
        *_, last = visit.call("AuditService/ReplayRound", audit_pb2.ReplayRoundRequest(name=each.name))
        verdict = last.verdict
        holds = verdict.outcome == audit_pb2.REPLAY_OUTCOME_MATCH
        said = "" if holds else f"{verdict.figure}: {verdict.claimed}, {verdict.expected}"
        yield Check(_RECOMPUTED, {"number": each.number}, holds, said, each.leaf_index if holds else verdict.leaf_index)
