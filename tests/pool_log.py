"""A pool's log in memory: built leaf by leaf as the service would, read as a replay reads one, and tampered with.

Usage is summed in plain Python integers here, so that a replay that matches has weighed it right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from typing import Any, Final, TypeVar

from ledger.errors import NotFoundError
from ledger.journal import REVENUE, Transfer, payment_transfers, revenue_transfers
from ledger.leaves import (
    Content,
    EncodedLeaf,
    Leaf,
    MethodContent,
    ModeTotals,
    PaymentContent,
    RevenueContent,
    UsageContent,
    decode,
    encode,
    encode_positions,
)
from ledger.merkle import root
from ledger.registry import Collective
from ledger.usage import AI_ONLY, HUMAN_AI, NANO
from payout.policy import Policy, PolicyContent, PoolContent
from payout.replay import CONTENTS, Verdict, replay_round
from payout.rounds import (
    Decision,
    DecisionContent,
    FireTimes,
    PostingContent,
    RoundContent,
    distribute,
    posting_transfers,
)
from payout.statement import parse_statement, render_registry, render_statement
from payout.weights import UsageKey, UsageSum
from tests.batches import Event, body_of

START: Final = datetime(2026, 1, 1, tzinfo=UTC)

C = TypeVar("C", bound=Content)


@dataclass
class PoolLog:
    """The log, its bodies and its journal: all that there is of a pool."""

    pool: str = "folk"
    entries: list[EncodedLeaf] = field(default_factory=list)
    bodies: dict[bytes, bytes] = field(default_factory=dict)
    journal: dict[int, list[Transfer]] = field(default_factory=dict)
    collectives: list[Collective] = field(default_factory=list)
    """What the registry holds, by the bytes of its names; rounds take a snapshot of it."""

    # What a replay reads.

    def size(self) -> int:
        return max((leaf.index + 1 for leaf in self.entries), default=0)

    def leaves(self, start: int, end: int) -> Iterator[EncodedLeaf]:
        yield from [leaf for leaf in self.entries if start <= leaf.index < end]

    def body(self, sha256: bytes) -> bytes:
        if sha256 not in self.bodies:
            raise NotFoundError(f"pools/{self.pool}/bodies/{sha256.hex()}")
        return self.bodies[sha256]

    def transfers(self, leaf_index: int) -> list[Transfer]:
        return self.journal.get(leaf_index, [])

    def replay(self, round_leaf: int) -> Verdict:
        """The verdict at the end of a replay."""
        steps = replay_round(self, round_leaf)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                verdict: Verdict = end.value
                return verdict

    # What is there.

    def content(self, index: int) -> Any:
        return _content(self.entries[index].entry)

    def placed(self, kind: type[C]) -> list[tuple[int, C]]:
        """(index, content) of every leaf of a kind."""
        found = ((index, self.content(index)) for index in range(self.size()))
        return [(index, content) for index, content in found if isinstance(content, kind)]

    def balance(self, account: str) -> int:
        moved = [transfer for transfers in self.journal.values() for transfer in transfers]
        credited = sum(transfer.amount_minor for transfer in moved if transfer.to_account == account)
        return credited - sum(transfer.amount_minor for transfer in moved if transfer.from_account == account)

    # What happens.

    def append(self, content: Content, transfers: Sequence[Transfer] = ()) -> int:
        index = self.size()
        self.entries.append(encode(Leaf(self.pool, index, START + timedelta(seconds=index), content)))
        if transfers:
            self.journal[index] = list(transfers)
        return index

    def put(self, body: bytes) -> str:
        digest = sha256(body)
        self.bodies[digest.digest()] = body
        return digest.hexdigest()

    def open(self, policy: Policy) -> int:
        return self.append(PoolContent(display_name="Folk", currency="EUR", policy=policy))

    def policy(self, policy: Policy) -> int:
        return self.append(PolicyContent(version=len(self.placed(PolicyContent)) + 2, policy=policy))

    def method(self, confidence_ppm: int, method: str = "ngram") -> int:
        version = sum(content.method == method for _, content in self.placed(MethodContent)) + 1
        return self.append(
            MethodContent(
                method=method, version=version, display_name="N", confidence_ppm=confidence_ppm, evidence_uri=""
            )
        )

    def revenue(self, amount_minor: int, platform: str = "acme") -> int:
        content = RevenueContent(
            platform=platform, request_id=f"r-{self.size()}", amount_minor=amount_minor, currency="EUR", note=""
        )
        return self.append(content, revenue_transfers(content))

    def payment(self, collective: str, amount_minor: int) -> int:
        content = PaymentContent(
            collective=collective, request_id=f"p-{self.size()}", amount_minor=amount_minor, reference="",
            recorded_by="operators/olive",
        )  # fmt: skip
        return self.append(content, payment_transfers(content))

    def usage(self, events: Sequence[Event], platform: str = "acme", method: str = "ngram") -> int:
        body = body_of(events)
        known = self.events_of(platform)
        duplicates = []
        for position, event in enumerate(events):
            if event.event_id in known:
                duplicates.append(position)
            known.add(event.event_id)
        accepted = [event for position, event in enumerate(events) if position not in duplicates]
        content = UsageContent(
            platform=platform,
            batch_id=f"b-{self.size()}",
            body_sha256=self.put(body),
            body_bytes=len(body),
            method=method,
            method_version=sum(content.method == method for _, content in self.placed(MethodContent)),
            accepted=len(accepted),
            duplicates=encode_positions(duplicates),
            ai_only=totals(accepted, AI_ONLY),
            human_ai=totals(accepted, HUMAN_AI),
        )
        index = self.append(content)
        self._accepted[index] = accepted
        return index

    def calculate(
        self,
        calculated_by: str = "operators/olive",
        *,
        fire_times: FireTimes | None = None,
        meanwhile: Callable[[], object] = int,
    ) -> int:
        """A round over everything since the last posted one. What happens meanwhile comes after it was cut and before
        its leaf."""
        posted = [content.round for _, content in self.placed(PostingContent)]
        rounds = {content.number: content for _, content in self.placed(RoundContent)}
        start = rounds[posted[-1]].end if posted else 0
        policy_leaf, version, policy = self.policy_at(start)
        found = distribute(policy, self.balance(REVENUE), self.usage_since(start), self.confidence(), self.collectives)
        content = RoundContent(
            number=len(rounds) + 1,
            previous=posted[-1] if posted else 0,
            start=start,
            end=self.size(),
            root=self.root_at(self.size()),
            policy_leaf=policy_leaf,
            policy_version=version,
            registry_sha256=self.put(render_registry(self.collectives)),
            statement_sha256=self.put(render_statement(found.lines)),
            events=found.events,
            weight=found.weight,
            weight_unattributed=found.weight_unattributed,
            pot_minor=found.pot_minor,
            fee_minor=found.fee_minor,
            attributed_minor=found.attributed_minor,
            commons_minor=found.commons_minor,
            commons_kept_minor=found.commons_kept_minor,
            carried_minor=found.carried_minor,
            calculated_by=calculated_by,
            request_id=f"q-{self.size()}",
            fire_times=fire_times,
        )
        meanwhile()
        return self.append(content)

    def decide(self, decision: Decision, decided_by: str) -> int:
        number, reason = len(self.placed(RoundContent)), "" if decision is Decision.APPROVED else "late"
        return self.append(DecisionContent(round=number, decision=decision.value, decided_by=decided_by, reason=reason))

    def post(self) -> int:
        """Post the latest round."""
        content = self.placed(RoundContent)[-1][1]
        moved = posting_transfers(content, parse_statement(self.bodies[bytes.fromhex(content.statement_sha256)]))
        amount = sum(transfer.amount_minor for transfer in moved)
        return self.append(PostingContent(round=content.number, transfers=len(moved), amount_minor=amount), moved)

    # What it comes to, in plain integers.

    _accepted: dict[int, list[Event]] = field(default_factory=dict)

    def events_of(self, platform: str) -> set[bytes | None]:
        mine = [index for index, content in self.placed(UsageContent) if content.platform == platform]
        return {event.event_id for index in mine for event in self._accepted[index]}

    def usage_since(self, start: int) -> dict[UsageKey, UsageSum]:
        events: dict[UsageKey, list[Event]] = {}
        for index, content in self.placed(UsageContent):
            for event in self._accepted[index] if index >= start else ():
                key = UsageKey(content.method, content.method_version, event.mode or 0)
                events.setdefault(key, []).append(event)
        return {key: UsageSum(len(some), unattributed(some), attributed(some)) for key, some in events.items()}

    def confidence(self) -> dict[tuple[str, int], int]:
        return {(content.method, content.version): content.confidence_ppm for _, content in self.placed(MethodContent)}

    def policy_at(self, start: int) -> tuple[int, int, Policy]:
        ((index, first),) = self.placed(PoolContent)
        found = (index, 1, first.policy)
        for index, content in self.placed(PolicyContent):
            if index < start:
                found = (index, content.version, content.policy)
        return found

    def root_at(self, size: int) -> str:
        return root([leaf.hash for leaf in self.entries[:size]]).hex()

    # What should not happen.

    def rewrite(self, index: int, content: Content, *, seal: bool = True, late_by: int = 0) -> None:
        """Put another content in the place of one, with the right hash; and the right roots in all later rounds.

        What is left to find then is what the content says, not that it was changed.
        """
        self.entries[index] = encode(Leaf(self.pool, index, START + timedelta(seconds=index + late_by), content))
        for later in range(index + 1, self.size() if seal else 0):
            found = self.content(later)
            if isinstance(found, RoundContent) and 0 <= found.end <= later:
                resealed = found.model_copy(update={"root": self.root_at(found.end)})
                leaf = Leaf(self.pool, later, START + timedelta(seconds=later), resealed)
                self.entries[later] = encode(leaf)

    def change(self, index: int, *, seal: bool = True, **fields: Any) -> None:
        """`rewrite` with other values in some fields of the content that is there."""
        self.rewrite(index, self.content(index).model_copy(update=fields), seal=seal)

    def restate(self, round_leaf: int, statement: bytes) -> None:
        """Put another statement under a round."""
        self.change(round_leaf, statement_sha256=self.put(statement))


@cache
def _content(entry: bytes) -> Content:
    return decode(entry, CONTENTS).content


def attributed(events: Sequence[Event]) -> dict[str, int]:
    weights: dict[str, int] = {}
    for event in events:
        for name, share in event.shares or ():
            weights[name or ""] = weights.get(name or "", 0) + (event.units or 0) * (share or 0)
    return weights


def unattributed(events: Sequence[Event]) -> int:
    return sum((event.units or 0) * NANO for event in events) - sum(attributed(events).values())


def totals(events: Sequence[Event], mode: int) -> ModeTotals:
    some = [event for event in events if event.mode == mode]
    return ModeTotals(events=len(some), attributed=sum(attributed(some).values()), unattributed=unattributed(some))
