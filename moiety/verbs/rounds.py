"""Verbs of the RoundsService: who gets what, and who agreed to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from moiety.connection import PAGE_SIZE
from moiety.steps import Pages, Steps
from moiety.v1 import rounds_pb2 as pb
from moiety.v1.registry_pb2 import Policy
from moiety.v1.rounds_pb2_grpc import RoundsServiceStub
from moiety.verbs.base import Joined, Verbs, listing, pool_name, round_name, verb


@dataclass(frozen=True, slots=True)
class Preview:
    """What a calculation would give now: the round, and its statement as canonical CSV."""

    round: pb.Round
    statement: bytes


class RoundsVerbs(Verbs):
    """Rounds. Operators act, auditors read all, a collective sees totals and what is its own."""

    @cached_property
    def _rounds(self) -> RoundsServiceStub:
        return RoundsServiceStub(self._connection.channel)

    @verb
    def preview_round(
        self, pool: str, *, number: int = 0, policy: Policy | None = None, proposal: str = ""
    ) -> Steps[Preview]:
        """Return the round that a calculation would make now; nothing of it is kept.

        Args:
            pool: the pool's id.
            number: a past round to compute again instead.
            policy: another one than the one in force.
            proposal: the name of a proposal, of this pool or of the registry, as which the round is then computed.
        """
        request = pb.PreviewRoundRequest(parent=pool_name(pool), number=number, policy=policy, proposal=proposal)
        return self._connection.read_stream(self._rounds.PreviewRound, request, _Previewed)

    @verb
    def calculate_round(self, pool: str, *, request_id: str) -> Steps[pb.Round]:
        """Calculate the pool's next round over everything logged since the last posted one.

        Repeating a request id gives the same round.
        """
        request = pb.CalculateRoundRequest(parent=pool_name(pool), request_id=request_id)
        return self._connection.unary(self._rounds.CalculateRound, request, repeat=True)

    @verb
    def approve_round(self, pool: str, number: int) -> Steps[pb.Round]:
        """Approve a calculated round and post it."""
        request = pb.ApproveRoundRequest(name=round_name(pool, number))
        return self._connection.unary(self._rounds.ApproveRound, request, repeat=True)

    @verb
    def reject_round(self, pool: str, number: int, reason: str) -> Steps[pb.Round]:
        """Reject a calculated round."""
        request = pb.RejectRoundRequest(name=round_name(pool, number), reason=reason)
        return self._connection.unary(self._rounds.RejectRound, request, repeat=True)

    @verb
    def object_to_round(self, pool: str, number: int, reason: str) -> Steps[pb.Objection]:
        """Object to a calculated round as a collective, before its review is over; the same again is a no-op."""
        request = pb.ObjectToRoundRequest(name=round_name(pool, number), reason=reason)
        return self._connection.unary(self._rounds.ObjectToRound, request, repeat=True)

    @listing
    def list_objections(self, pool: str, number: int) -> Pages[pb.Objection]:
        """Give the objections to a round by collective. A collective sees its own."""
        request = pb.ListObjectionsRequest(parent=round_name(pool, number), page_size=PAGE_SIZE)
        return self._connection.pages(self._rounds.ListObjections, request, lambda page: page.objections)

    @verb
    def answer_objection(
        self, pool: str, number: int, collective: str, answer: pb.ObjectionAnswer.ValueType, reason: str
    ) -> Steps[pb.Objection]:
        """Answer an objection, as an operator who did not calculate the round.

        Upholding it rejects the round; setting it aside has the collective's amount held as disputed.
        """
        name = f"{round_name(pool, number)}/objections/{collective}"
        request = pb.AnswerObjectionRequest(name=name, answer=answer, reason=reason)
        return self._connection.unary(self._rounds.AnswerObjection, request, repeat=True)

    @verb
    def get_round(self, pool: str, number: int) -> Steps[pb.Round]:
        """Give one round."""
        request = pb.GetRoundRequest(name=round_name(pool, number))
        return self._connection.unary(self._rounds.GetRound, request, repeat=True)

    @listing
    def list_rounds(self, pool: str) -> Pages[pb.Round]:
        """Return a pool's rounds, oldest first."""
        request = pb.ListRoundsRequest(parent=pool_name(pool), page_size=PAGE_SIZE)
        return self._connection.pages(self._rounds.ListRounds, request, lambda page: page.rounds)

    @listing
    def list_allocations(self, pool: str, number: int) -> Pages[pb.Allocation]:
        """Return a round's allocations by collective id. A collective sees its own."""
        request = pb.ListAllocationsRequest(parent=round_name(pool, number), page_size=PAGE_SIZE)
        return self._connection.pages(self._rounds.ListAllocations, request, lambda page: page.allocations)

    @verb
    def get_statement(
        self,
        pool: str,
        number: int,
        *,
        part: pb.StatementPart.ValueType = pb.STATEMENT_PART_LINES,
        collective: str | None = None,
    ) -> Steps[bytes]:
        """Return a round's statement, or another of its tables: canonical CSV, exactly as logged.

        Args:
            pool: the pool's id.
            number: the round's.
            part: which of its tables.
            collective: give the header and this collective's lines only, which is all that a collective is given.
        """
        named = f"collectives/{collective}" if collective else ""
        request = pb.GetStatementRequest(name=round_name(pool, number), part=part, collective=named)
        return self._connection.read_stream(self._rounds.GetStatement, request, Joined)

    @verb
    def get_statement_file(self, pool: str, number: int, *, collective: str | None = None) -> Steps[bytes]:
        """Return a collective's statement file: its line of a round, with all that it takes to verify it alone.

        Args:
            pool: the pool's id.
            number: the round's.
            collective: whose line; a collective's own by default.
        """
        named = f"collectives/{collective}" if collective else ""
        request = pb.GetStatementFileRequest(name=round_name(pool, number), collective=named)
        return self._connection.read_stream(self._rounds.GetStatementFile, request, Joined)

    @verb
    def log_split(
        self, pool: str, number: int, *, amount_minor: int, line_count: int, split_root: bytes, rule: str
    ) -> Steps[pb.Split]:
        """Log how the calling collective splits its amount of a posted round; the same again is a no-op.

        Args:
            pool: the pool's id.
            number: the round's.
            amount_minor: what the lines sum to, which is the collective's amount.
            line_count: how many there are.
            split_root: the root of the sum tree, 32 bytes.
            rule: the rule, in words.
        """
        request = pb.LogSplitRequest(
            name=round_name(pool, number), amount_minor=amount_minor, line_count=line_count, split_root=split_root,
            rule=rule,
        )  # fmt: skip
        return self._connection.unary(self._rounds.LogSplit, request, repeat=True)

    @verb
    def get_fairness(self, pool: str, number: int) -> Steps[pb.Fairness]:
        """Tell how evenly a round's money is spread."""
        request = pb.GetFairnessRequest(name=round_name(pool, number))
        return self._connection.unary(self._rounds.GetFairness, request, repeat=True)


class _Previewed:
    """The parts of a preview."""

    def __init__(self) -> None:
        self._round = pb.Round()
        self._statement = bytearray()

    def take(self, answer: pb.PreviewRoundResponse) -> None:
        if answer.HasField("round"):
            self._round = answer.round
        self._statement += answer.statement_chunk

    def result(self) -> Preview:
        return Preview(self._round, bytes(self._statement))
