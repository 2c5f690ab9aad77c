"""Verbs of the AuditService: how anyone can check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from hashlib import sha256

from moiety.connection import PAGE_SIZE
from moiety.errors import DataLossError
from moiety.v1 import audit_pb2 as pb
from moiety.v1.audit_pb2_grpc import AuditServiceStub
from moiety.verbs.base import Verbs, pool_name, round_name


class AuditVerbs(Verbs):
    """A pool's log with its bodies, and the replay of rounds from it. For auditors and operators."""

    @cached_property
    def _audit(self) -> AuditServiceStub:
        return AuditServiceStub(self._connection.channel)

    def get_log_head(self, pool: str) -> pb.LogHead:
        """Give the size and root of a pool's log."""
        request = pb.GetLogHeadRequest(parent=pool_name(pool))
        return self._connection.unary(self._audit.GetLogHead, request, repeat=True)

    def list_leaves(self, pool: str, *, start: int = 0) -> Iterator[pb.Leaf]:
        """Give a pool's leaves in order, from index `start` on."""
        request = pb.ListLeavesRequest(parent=pool_name(pool), start=start, page_size=PAGE_SIZE)
        return self._connection.pages(self._audit.ListLeaves, request, lambda page: page.leaves)

    def get_body(self, pool: str, digest: bytes) -> bytes:
        """Give the body with this SHA-256, which is checked.

        Raises:
            DataLossError: what the service sent has another SHA-256.
        """
        request = pb.GetBodyRequest(parent=pool_name(pool), sha256=digest)
        body = self._connection.read_stream(self._audit.GetBody, request, _joined)
        if sha256(body).digest() != digest:
            raise DataLossError(f"the body sent for SHA-256 {digest.hex()} has another one")
        return body

    def replay_round(
        self, pool: str, number: int, *, progress: Callable[[pb.ReplayProgress], None] | None = None
    ) -> pb.ReplayVerdict:
        """Have a round recomputed from the log and its bodies alone, and give the verdict."""

        def verdict(answers: Iterator[pb.ReplayRoundResponse]) -> pb.ReplayVerdict:
            found = pb.ReplayVerdict()
            for answer in answers:
                if answer.HasField("verdict"):
                    found = answer.verdict
                elif progress:
                    progress(answer.progress)
            return found

        request = pb.ReplayRoundRequest(name=round_name(pool, number))
        return self._connection.read_stream(self._audit.ReplayRound, request, verdict)


def _joined(answers: Iterator[pb.GetBodyResponse]) -> bytes:
    return b"".join(answer.chunk for answer in answers)
