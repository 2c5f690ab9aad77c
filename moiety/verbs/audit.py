"""Verbs of the AuditService: how anyone can check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from hashlib import sha256
from typing import Final

from moiety.connection import PAGE_SIZE, Connection
from moiety.errors import DataLossError, DeadlineExceededError, ServiceError, UnavailableError
from moiety.patience import Patience
from moiety.steps import End, Open, Pages, Pause, Receive, Steps, Stream
from moiety.v1 import audit_pb2 as pb
from moiety.v1.audit_pb2_grpc import AuditServiceStub
from moiety.verbs.base import Joined, Verbs, listing, log_name, round_name, verb

WATCH_SILENCE_SECONDS: Final = 90.0
"""How long a watch may hear nothing before it is opened again: the service tells the position every 30 seconds."""


class AuditVerbs(Verbs):
    """A pool's log with its bodies, and the replay of rounds from it, for auditors and operators.

    The registry's log is read by the same verbs, under the id `registry`.
    Checkpoints and proofs are for everyone with a key.
    """

    @cached_property
    def _audit(self) -> AuditServiceStub:
        return AuditServiceStub(self._connection.channel)

    @verb
    def get_log_head(self, pool: str) -> Steps[pb.LogHead]:
        """Return the size and root of a pool's log."""
        request = pb.GetLogHeadRequest(parent=log_name(pool))
        return self._connection.unary(self._audit.GetLogHead, request, repeat=True)

    @listing
    def list_leaves(self, pool: str, *, start: int = 0) -> Pages[pb.Leaf]:
        """Return a pool's leaves in order, from index `start` on."""
        request = pb.ListLeavesRequest(parent=log_name(pool), start=start, page_size=PAGE_SIZE)
        return self._connection.pages(self._audit.ListLeaves, request, lambda page: page.leaves)

    @listing
    def watch(self, pool: str, *, start: int = 0, only_new: bool = False) -> Pages[pb.Leaf]:
        """Return a log's leaves from index `start` on, and then each as it is appended: without an end.

        Operators and auditors see all of them, platforms and collectives their own. Where the stream breaks it goes on
        behind the last leaf that was given, until the service is away for the client's whole `timeout_seconds`; to go
        on later, watch from that leaf's index + 1.

        Args:
            pool: its id, or `registry`.
            start: the first index wanted.
            only_new: begin at the log's end, and not at `start`.
        """
        return _Watch(self._connection, self._audit, log_name(pool), start, only_new)

    @verb
    def get_body(self, pool: str, digest: bytes) -> Steps[bytes]:
        """Return the body with this SHA-256, which is checked.

        Raises:
            DataLossError: what the service sent has another SHA-256.
        """
        request = pb.GetBodyRequest(parent=log_name(pool), sha256=digest)
        body = yield from self._connection.read_stream(self._audit.GetBody, request, Joined)
        if sha256(body).digest() != digest:
            raise DataLossError(f"the body sent for SHA-256 {digest.hex()} has another one")
        return body

    @verb
    def get_checkpoint(self, pool: str, *, min_size: int = 0, cosigned: bool = False) -> Steps[pb.Checkpoint]:
        """Return the last checkpoint that was signed of a pool's log, or the first of at least `min_size` leaves.

        With `cosigned` it is the last one that a quorum of the witnesses cosigned whom the registry's log names, or the
        last one signed if there is none. Its note is not verified here: that takes a key that you had from elsewhere
        (`moiety log checkpoint --key`).
        """
        request = pb.GetCheckpointRequest(parent=log_name(pool), min_size=min_size, cosigned=cosigned)
        return self._connection.unary(self._audit.GetCheckpoint, request, repeat=True)

    @listing
    def list_checkpoints(self, pool: str) -> Pages[pb.Checkpoint]:
        """Return the checkpoints that were signed of a pool's log, by size."""
        request = pb.ListCheckpointsRequest(parent=log_name(pool), page_size=PAGE_SIZE)
        return self._connection.pages(self._audit.ListCheckpoints, request, lambda page: page.checkpoints)

    @verb
    def get_inclusion_proof(self, pool: str, leaf_index: int, *, checkpoint_size: int = 0) -> Steps[pb.InclusionProof]:
        """Return the path from a leaf to the root of a checkpoint (default: the last one signed), not verified here."""
        request = pb.GetInclusionProofRequest(
            parent=log_name(pool), leaf_index=leaf_index, checkpoint_size=checkpoint_size
        )
        return self._connection.unary(self._audit.GetInclusionProof, request, repeat=True)

    @verb
    def get_consistency_proof(self, pool: str, old_size: int, new_size: int = 0) -> Steps[pb.ConsistencyProof]:
        """Return the proof that the log of `new_size` leaves extends that of `old_size`. Not verified here.

        By default the new size is that of the last checkpoint signed.
        """
        request = pb.GetConsistencyProofRequest(parent=log_name(pool), old_size=old_size, new_size=new_size)
        return self._connection.unary(self._audit.GetConsistencyProof, request, repeat=True)

    @verb
    def replay_round(
        self, pool: str, number: int, *, progress: Callable[[pb.ReplayProgress], None] | None = None
    ) -> Steps[pb.ReplayVerdict]:
        """Have a round recomputed from the log and its bodies alone, and return the verdict."""
        request = pb.ReplayRoundRequest(name=round_name(pool, number))
        return self._connection.read_stream(self._audit.ReplayRound, request, lambda: _Replay(progress))


class _Watch:
    """A log's leaves as they come: a page is what one message has."""

    is_over = False

    def __init__(
        self, connection: Connection, audit: AuditServiceStub, parent: str, start: int, only_new: bool
    ) -> None:
        self._connection = connection
        self._audit = audit
        self._request = pb.WatchLeavesRequest(parent=parent, start=start, only_new=only_new)
        self._patience: Patience | None = None
        self._stream: Stream | None = None

    def next_page(self) -> Steps[Sequence[pb.Leaf]]:
        while True:
            try:
                if self._stream is None:
                    self._stream = yield Open(self._audit.WatchLeaves, self._request, self._connection.metadata)
                answer = yield Receive(self._stream, WATCH_SILENCE_SECONDS)
                if answer is End.OF_STREAM:
                    raise UnavailableError("the watch ended")
            except DeadlineExceededError as error:  # what was silent for so long is no longer there
                pause = self._broken(UnavailableError(str(error)))
            except ServiceError as error:
                pause = self._broken(error)
            else:
                self._patience = None
                self._request.start, self._request.only_new = answer.next_start, False
                leaves: Sequence[pb.Leaf] = answer.leaves
                return leaves
            yield Pause(pause)

    def _broken(self, error: ServiceError) -> float:
        """Close the stream; return how long to wait before the next one is opened."""
        self.close()
        self._patience = self._patience or Patience(self._connection.timeout_seconds)
        return self._patience.pause_after(error)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


class _Replay:
    """How a replay goes, and what comes of it."""

    def __init__(self, progress: Callable[[pb.ReplayProgress], None] | None) -> None:
        self._progress = progress
        self._verdict = pb.ReplayVerdict()

    def take(self, answer: pb.ReplayRoundResponse) -> None:
        if answer.HasField("verdict"):
            self._verdict = answer.verdict
        elif self._progress:
            self._progress(answer.progress)

    def result(self) -> pb.ReplayVerdict:
        return self._verdict
