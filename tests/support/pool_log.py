"""A pool's log in memory: built leaf by leaf as the service would, read as a replay reads one, and tampered with.

Usage is summed in plain Python integers here, so that a replay that matches has weighed it right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from hashlib import sha256
from itertools import cycle
from typing import Any, Final, TypeVar

from audit.batches.weighing import BatchSum, BatchTotals, Summed
from audit.progress import Progress
from audit.replay import Verdict, replay_round
from ledger.acts.act import POLICY, SCHEDULER, ActContent, SaltedContent
from ledger.acts.entries import Decision, DecisionContent, PoolOpenedContent, ProposalContent
from ledger.acts.people import Actor
from ledger.entries import (
    GrantContent,
    Movement,
    PaymentContent,
    ReleaseContent,
)
from ledger.errors import NotFoundError
from ledger.files.layout import MAX_FILE_BYTES, body_path, bounded
from ledger.income import (
    MatchContent,
    Period,
    ReceiptContent,
    ReportContent,
    ReversalContent,
    WaiverContent,
    payment_reference,
)
from ledger.journal import (
    REVENUE,
    Transfer,
    due_account,
)
from ledger.log.leaves import (
    Content,
    EncodedLeaf,
    Leaf,
    decode,
    encode,
)
from ledger.log.merkle import root
from ledger.registry import NANO, Collective
from ledger.usage.entries import (
    AdmissionContent,
    ClosingContent,
    IdSchemeContent,
    MembershipContent,
    MethodContent,
    ModeTotals,
    RetractionContent,
    UsageContent,
    encode_positions,
)
from ledger.usage.format import AI_ONLY, HUMAN_AI
from ledger.usage.ids import IdScheme
from ledger.usage.membership import parse_membership, render_membership
from ledger.usage.methods import Method, ScoreRule, content_of, method_of
from payout.adjustments import (
    Adjusted,
    AdjustedLines,
    AdjustmentContent,
    adjustment_transfers,
    amount_due,
    parse_adjusted,
    recouped_by,
)
from payout.amounts import Carried
from payout.calculation import Asked, RegistrySnapshot, RoundInputs, calculate
from payout.correction import PostedRound, corrected
from payout.entries import (
    CONTENTS,
    FireTimes,
    PauseContent,
    PolicyContent,
    PoolContent,
    PostingContent,
    RoundContent,
    ScheduleContent,
    posting_transfers,
)
from payout.objections import Answer, AnswerContent, ObjectionContent
from payout.periods import Books, PeriodUsage, Reported, Taken, Waiting, closing_round, next_period
from payout.policy import Policy
from payout.rounds import Deficits
from payout.splits import SplitContent, SplitLine, sum_root
from payout.statement import carried_of, deficits_of, parse_registry, parse_statement
from payout.tariffs import TariffContent
from payout.weights import UsageKey, UsageSum
from tests.support.batches import Event, body_of
from tests.support.entries import Balances
from tests.support.registry_log import OLIVE, RegistryLog, key_of
from tests.support.scores import score_body, shares_by_hand

START: Final = datetime(2026, 1, 1, tzinfo=UTC)

C = TypeVar("C", bound=Content)


class WeighedApart:
    """Weighs two of three batches apart, by turns in two sums, and only when their totals are waited for."""

    def __init__(self, log: PoolLog) -> None:
        self._turns = cycle([None, BatchSum(log), BatchSum(log)])
        self._summing: list[BatchSum] = []

    def begin(self, leaf_index: int, content: UsageContent) -> Callable[[], BatchTotals] | None:
        summed = next(self._turns)
        if summed is None:
            return None
        self._summing.append(summed)
        return partial(summed.weigh, leaf_index, content)

    def sums(self) -> list[Summed]:
        summing, self._summing = dict.fromkeys(self._summing), []
        return [summed.taken() for summed in summing]


@dataclass
class PoolLog:
    """The log, its bodies and its journal: all that there is of a pool."""

    pool: str = "folk"
    entries: list[EncodedLeaf] = field(default_factory=list)
    bodies: dict[bytes, bytes] = field(default_factory=dict)
    journal: dict[int, list[Transfer]] = field(default_factory=dict)
    collectives: list[Collective] = field(default_factory=list)
    """What the registry holds, by the bytes of its names; rounds take a snapshot of it."""
    registry: RegistryLog = field(default_factory=RegistryLog.founded)
    now: datetime = START
    """Of the next leaf."""
    platforms: tuple[str, ...] = ("acme", "zen")
    """Those that are admitted as the pool is opened."""
    distribute: str = "REPORTED"

    # What a replay reads.

    def size(self) -> int:
        return max((leaf.index + 1 for leaf in self.entries), default=0)

    def leaves(self, start: int, end: int) -> Iterator[EncodedLeaf]:
        yield from [leaf for leaf in self.entries if start <= leaf.index < end]

    def body(self, sha256: bytes, *, bytes_max: int = MAX_FILE_BYTES) -> bytes:
        if sha256 not in self.bodies:
            raise NotFoundError(f"pools/{self.pool}/bodies/{sha256.hex()}")
        return bounded(self.bodies[sha256], body_path(sha256), bytes_max)

    def transfers(self, leaf_index: int, most: int) -> list[Transfer]:
        return self.journal.get(leaf_index, [])[: most + 1]

    def replay(self, round_leaf: int) -> Verdict:
        """The verdict at the end of a replay, which is the same where the work on batches is put off or done apart."""
        verdict = verdict_of(replay_round(self, self.registry, round_leaf))
        put_off = verdict_of(replay_round(self, self.registry, round_leaf, submit=lambda work: work, ahead=3))
        assert put_off.finding == verdict.finding
        apart = verdict_of(replay_round(self, self.registry, round_leaf, weighing=WeighedApart(self)))
        assert apart.finding == verdict.finding
        assert apart.finding is not None or apart == verdict
        return verdict

    # What is there.

    def content(self, index: int) -> Any:
        return _content(self.entries[index].entry)

    def time_of(self, index: int) -> datetime:
        return decode(self.entries[index].entry, CONTENTS).time

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
        self.entries.append(encode(Leaf(self.pool, index, self.now, self.stamped(content))))
        self.now += timedelta(seconds=1)
        if transfers:
            self.journal[index] = list(transfers)
        return index

    def stamped(self, content: Content, registry_size: int = 0) -> Content:
        """An act with the key that it came with, judged by the registry as it is, where nothing is said of these."""
        if not isinstance(content, ActContent) or content.registry_size:
            return content
        people = self.registry.people(registry_size or None)
        by = content.by or OLIVE
        return Actor(by, _key_of(by)).stamp(content, people)

    def register(self) -> None:
        """Bring the registry up to what it is said to hold."""
        self.registry.now = max(self.registry.now, self.now)
        self.registry.collectives(self.collectives)

    def put(self, body: bytes) -> str:
        digest = sha256(body)
        self.bodies[digest.digest()] = body
        return digest.hexdigest()

    def open(self, policy: Policy, distribute: str = "REPORTED") -> int:
        self.register()
        self.distribute = distribute
        self.registry.platforms(self.platforms)
        opened = self.registry.open_pool(self.pool, policy, platforms=self.platforms, distribute=distribute)
        return self.append(
            PoolContent(
                opened_at=self.registry.size() - 1, display_name=opened.display_name, currency=opened.currency,
                distribute=opened.distribute, policy=policy, platforms=opened.platforms, by=opened.by,
            )
        )  # fmt: skip

    def policy(self, policy: Policy) -> int:
        return self.append(PolicyContent(version=len(self.placed(PolicyContent)) + 2, policy=policy))

    def method(
        self, confidence_ppm: int, method: str = "ngram", rule: ScoreRule | None = None, membership: str = ""
    ) -> int:
        version = len(self.versions(method)) + 1
        declared = Method(
            method, "N", confidence_ppm, score_rule=rule, membership=membership if rule else "", version=version
        )
        return self.append(content_of(declared))

    def versions(self, method: str) -> list[MethodContent]:
        return [content for _, content in self.placed(MethodContent) if content.method == method]

    def membership(self, collectives: Mapping[str, str], name: str = "items") -> int:
        body = render_membership(collectives)
        return self.append(
            MembershipContent(
                membership=name, version=len(self.memberships(name)) + 1, body_sha256=self.put(body),
                body_bytes=len(body), sources=len(collectives), collectives=len(set(collectives.values())),
            )
        )  # fmt: skip

    def memberships(self, name: str) -> list[MembershipContent]:
        return [content for _, content in self.placed(MembershipContent) if content.membership == name]

    def revenue(self, amount_minor: int, platform: str = "acme") -> int:
        return self.report(amount_minor, platform)

    def report(
        self, amount_minor: int, platform: str = "acme", period: str = "", income_minor: int | None = None
    ) -> int:
        request_id = f"r-{self.size()}"
        return self.move(
            ReportContent(
                platform=platform, request_id=request_id, period=period, amount_minor=amount_minor, currency="EUR",
                distribute=self.distribute, payment_reference=payment_reference(self.pool, platform, request_id),
                note="", income_minor=income_minor,
            )
        )  # fmt: skip

    def receipt(self, amount_minor: int, platform: str = "acme") -> int:
        return self.move(
            ReceiptContent(
                platform=platform, request_id=f"m-{self.size()}", amount_minor=amount_minor, payment_reference="",
                received_on="2026-01-31", note="", by="operators/olive",
            )
        )  # fmt: skip

    def matched(self, receipt: int, platform: str, amount_minor: int) -> int:
        return self.move(
            MatchContent(
                receipt=receipt, platform=platform, request_id=f"m-{self.size()}", amount_minor=amount_minor,
                by="operators/olive",
            )
        )  # fmt: skip

    def reversal(self, leaf: int, amount_minor: int, *, platform: str = "acme", chargeback: bool = False) -> int:
        return self.move(
            ReversalContent(
                reverses=leaf, of=self.content(leaf).type, platform=platform, distribute=self.distribute,
                chargeback=chargeback, request_id=f"v-{self.size()}", amount_minor=amount_minor, reason="wrong",
                by="operators/olive",
            )
        )  # fmt: skip

    def payment(self, collective: str, amount_minor: int) -> int:
        content = PaymentContent(
            collective=collective, request_id=f"p-{self.size()}", amount_minor=amount_minor, reference="",
            by="operators/olive",
        )  # fmt: skip
        return self.move(content)

    def release(self, collective: str, amount_minor: int, *, to_commons: bool = False) -> int:
        return self.move(
            ReleaseContent(
                collective=collective, request_id=f"p-{self.size()}", amount_minor=amount_minor, to_commons=to_commons,
                reason="settled", by="operators/olive",
            )
        )  # fmt: skip

    def grant(self, collective: str, amount_minor: int) -> int:
        return self.move(
            GrantContent(
                collective=collective, request_id=f"p-{self.size()}", amount_minor=amount_minor, reason="a school",
                by="operators/olive",
            )
        )  # fmt: skip

    def move(self, content: ReportContent | Movement) -> int:
        if isinstance(content, Movement):
            content = content.model_copy(update={"salt": salt_at(self.size())})
        return self.append(content, content.transfers(Balances(self.balance)))

    def schedule(self, cron: str) -> int:
        return self.append(ScheduleContent(cron=cron, time_zone="UTC", paused=False, by="operators/olive"))

    def fired(self) -> FireTimes:
        """Sets a schedule; returns a time of it that has come by the next leaf."""
        self.schedule("* * * * *")
        due = f"{self.now:%Y-%m-%dT%H:%M:%SZ}"
        return FireTimes(first=due, last=due, count=1)

    def admit(self, platform: str, *, admitted: bool = True) -> int:
        """Admit a platform, or end its admission."""
        return self.append(AdmissionContent(platform=platform, admitted=admitted))

    def pause(self) -> int:
        return self.append(PauseContent(by="operators/olive"))

    def close(self) -> int:
        return self.append(ClosingContent(by="operators/olive"))

    def propose(self, effect: ActContent, by: str = "operators/olive") -> int:
        if isinstance(effect, SaltedContent):
            effect = effect.model_copy(update={"salt": salt_at(self.size())})
        return self.append(ProposalContent(effect=effect.type, content=effect.said(), rests_on={}, reason="", by=by))

    def together(
        self,
        effect: ActContent,
        by: str = OLIVE,
        second: str = "operators/oscar",
        moved: Sequence[Transfer] | None = None,
    ) -> int:
        """Something that one operator proposes and another approves."""
        proposed = self.propose(effect, by)
        digest = self.entries[proposed].hash.hex()
        self.append(DecisionContent(subject=proposed, subject_hash=digest, decision="APPROVED", reason="", by=second))
        content = self.content(proposed).content
        done = type(effect).model_validate({**content, "by": by, "proposal": proposed})
        return self.append(done, done.transfers(Balances(self.balance)) if moved is None else moved)

    def reject_proposal(self, by: str) -> int:
        """Reject the latest proposal."""
        subject, _ = self.placed(ProposalContent)[-1]
        digest = self.entries[subject].hash.hex()
        return self.append(
            DecisionContent(subject=subject, subject_hash=digest, decision="REJECTED", reason="no", by=by)
        )

    def id_scheme(self, platform: str, scheme: str = IdScheme.ORDERED) -> int:
        """A platform says how its ids are made."""
        self._id_schemes[platform] = scheme
        return self.append(IdSchemeContent(platform=platform, scheme=scheme))

    def usage(self, events: Sequence[Event], platform: str = "acme", method: str = "ngram") -> int:
        return self._usage(body_of(events), events, platform, method)

    def scores(self, events: Sequence[Event], platform: str = "acme", method: str = "influence") -> int:
        """A batch of events with scores by source, where others have shares by collective."""
        declared = method_of(self.versions(method)[-1], 0)
        assert declared.score_rule
        versions = self.memberships(declared.membership)
        whose = parse_membership(self.bodies[bytes.fromhex(versions[-1].body_sha256)]) if versions else None
        with_shares = []
        for event in events:
            scores = [(source or "", score or 0.0) for source, score in event.shares or ()]
            mapping = {source: source for source, _ in scores} if whose is None else whose
            shares = shares_by_hand(scores, declared.score_rule, mapping)
            with_shares.append(replace(event, shares=tuple(shares.items())))
        named = {"membership": declared.membership, "membership_version": len(versions)} if versions else {}
        return self._usage(score_body(events), with_shares, platform, method, **named)

    def _usage(self, body: bytes, events: Sequence[Event], platform: str, method: str, **membership: Any) -> int:
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
            method_version=len(self.versions(method)),
            **membership,
            id_scheme=self._id_schemes.get(platform, IdScheme.OWN),
            accepted=len(accepted),
            duplicates=encode_positions(duplicates),
            ai_only=totals(accepted, AI_ONLY),
            human_ai=totals(accepted, HUMAN_AI),
        )
        index = self.append(content)
        self._accepted[index] = accepted
        self._positions[index] = [position for position in range(len(events)) if position not in duplicates]
        return index

    def retractable(self, batch_leaf: int) -> list[int]:
        """Positions of a batch that were accepted and not taken back."""
        return [at for at in self._positions[batch_leaf] if at not in self._retracted.get(batch_leaf, ())]

    def retract(self, batch_leaf: int, positions: Sequence[int] | None = None) -> int:
        """Take back events of a batch; all that are left unless told otherwise."""
        taken = sorted(self.retractable(batch_leaf) if positions is None else positions)
        content = self.content(batch_leaf)
        events = self._at(batch_leaf, taken)
        index = self.append(
            RetractionContent(
                platform=content.platform, request_id=f"t-{self.size()}", batch_leaf=batch_leaf,
                positions=encode_positions(taken), reason="counted twice", ai_only=totals(events, AI_ONLY),
                human_ai=totals(events, HUMAN_AI),
            )
        )  # fmt: skip
        self._retracted.setdefault(batch_leaf, []).extend(taken)
        self._taken_back[index] = events
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
        last = rounds[posted[-1]] if posted else None
        start = last.end if last else 0
        policy_leaf, version, policy = self.policy_at(start)
        deficits, carried = self.left_over()
        taken = Taken.by(last)
        self.register()
        inputs = RoundInputs(
            number=len(rounds) + 1,
            previous=posted[-1] if posted else 0,
            start=start,
            end=self.size(),
            root=bytes.fromhex(self.root_at(self.size())),
            policy_leaf=policy_leaf,
            policy_version=version,
            policy=policy,
            pot_minor=max(0, self.balance(REVENUE)),
            usage=self.untaken(),
            confidence_ppm=self.confidence(),
            registry=RegistrySnapshot(0, bytes.fromhex(self.registry.root_at(self.registry.size())), self.collectives),
            deficits=deficits,
            carried=carried,
            asked=Asked(f"q-{self.size()}", fire_times, bytes.fromhex(salt_at(self.size()))),
            usage_from=taken.since if taken.since < start else None,
        )
        period = next_period(policy, Period.parse(last.period) if last and last.period else None)
        if period:
            calculation, self.waiting = closing_round(inputs, period, self.books(), self.now, self.usage_of)
            if self.waiting:
                return -1
        else:
            calculation = calculate(inputs)
        for body in calculation.bodies():
            self.put(body)
        content = calculation.content.model_copy(update={"by": calculated_by})
        meanwhile()
        return self.append(content)

    def object_to(self, collective: str, reason: str = "too little") -> int:
        """A collective objects to the latest round."""
        index, content = self.placed(RoundContent)[-1]
        self.registry.now = max(self.registry.now, self.now)
        self.registry.key(f"collectives/{collective}")
        return self.append(
            ObjectionContent(
                round=content.number, round_hash=self.entries[index].hash.hex(), reason=reason,
                by=f"collectives/{collective}",
            )
        )  # fmt: skip

    def split(self, collective: str, lines: Sequence[SplitLine], number: int = 0) -> int:
        """A collective splits its amount of a round, or of the latest."""
        index, content = [found for found in self.placed(RoundContent) if number in (0, found[1].number)][-1]
        self.registry.now = max(self.registry.now, self.now)
        self.registry.key(f"collectives/{collective}")
        top = sum_root([line.leaf() for line in lines])
        return self.append(
            SplitContent(
                round=content.number, round_hash=self.entries[index].hash.hex(), collective=collective,
                amount_minor=top.amount_minor, lines=len(lines), split_root=top.hash.hex(), rule="By plays.",
                salt=salt_at(self.size()), by=f"collectives/{collective}",
            )
        )  # fmt: skip

    def answer(self, collective: str, answer: Answer, by: str = "operators/oscar") -> int:
        """An operator answers a collective's objection to the latest round."""
        number = self.placed(RoundContent)[-1][1].number
        mine = [
            index
            for index, content in self.placed(ObjectionContent)
            if (content.round, content.collective) == (number, collective)
        ]
        return self.append(
            AnswerContent(
                round=number, collective=collective, objection_hash=self.entries[mine[-1]].hash.hex(),
                answer=answer.value, reason="as the statement says", by=by,
            )
        )  # fmt: skip

    def set_aside(self, number: int) -> list[str]:
        """The collectives whose objections to a round were set aside."""
        answers = [content for _, content in self.placed(AnswerContent) if content.round == number]
        return sorted(content.collective for content in answers if content.answer == Answer.SET_ASIDE)

    def decide(self, decision: Decision, decided_by: str) -> int:
        """Decide the latest round, once its review is over."""
        reason = "" if decision is Decision.APPROVED else "late"
        subject, round_ = self.placed(RoundContent)[-1]
        if decision is Decision.APPROVED:
            review = self.policy_at(round_.start)[2].review_seconds
            self.now = max(self.now, self.time_of(subject) + timedelta(seconds=review))
        content = DecisionContent(
            subject=subject, subject_hash=self.entries[subject].hash.hex(), decision=decision.value, by=decided_by,
            reason=reason,
        )  # fmt: skip
        return self.append(content)

    def post(self, *notes: bytes) -> int:
        """Post the latest round; `notes` are the two between which its review was, where witnesses time it."""
        content = self.placed(RoundContent)[-1][1]
        lines = parse_statement(self.bodies[bytes.fromhex(content.statement_sha256)])
        aside = self.set_aside(content.number)
        recoup_ppm = self.policy_at(content.start)[2].recoup_ppm
        moved = posting_transfers(content, lines, frozenset(aside))
        moved += recouped_by(recoup_ppm, lines, frozenset(aside), self.balance)
        amount = sum(transfer.amount_minor for transfer in moved)
        named = dict(zip(("review_began_sha256", "review_ended_sha256"), map(self.put, notes), strict=False))
        posting = PostingContent(
            round=content.number, transfer_count=len(moved), amount_minor=amount, set_aside=aside,
            recoup_ppm=recoup_ppm,
        ).model_copy(update=named)  # fmt: skip
        before = Period.parse(content.period).end if content.period else None
        for leaf, events in [*self._accepted.items(), *self._taken_back.items()]:
            for event in self._left_of(leaf, events, before) if leaf < content.end else ():
                self.paid_by[leaf, event.event_id] = content.number
        return self.append(posting, moved)

    def adjust(
        self,
        number: int,
        pool_leaves: Sequence[int] = (),
        registry_leaves: Sequence[int] = (),
        source: str = "",
        *,
        together: bool = False,
    ) -> int:
        """Adjust a posted round by what these leaves say; together, one operator proposes it and another approves."""
        lines = self.adjusted_lines(number, pool_leaves, registry_leaves)
        body = AdjustedLines(salt_at(self.size() + 1), lines)
        content = AdjustmentContent(
            request_id=f"a-{self.size()}", round=number, amount_minor=amount_due(lines),
            lines_sha256=self.put(body.render()), lines=len(lines), lines_root=body.root(), pool_leaves=[*pool_leaves],
            registry_leaves=[*registry_leaves], source=source, reason="it was wrong", salt=salt_at(self.size()),
        )  # fmt: skip
        moved = adjustment_transfers(lines, source, self.balance)
        return self.together(content, moved=moved) if together else self.append(content, moved)

    def adjusted_lines(
        self, number: int, pool_leaves: Sequence[int], registry_leaves: Sequence[int] = ()
    ) -> list[Adjusted]:
        rounds = {content.number: content for _, content in self.placed(RoundContent)}
        content = rounds[number]
        made = [each for _, each in self.placed(AdjustmentContent) if each.round == number]
        bodies = [self.bodies[bytes.fromhex(each.lines_sha256)] for each in made]
        posted = PostedRound(
            content,
            rounds.get(content.previous),
            self.policy_at(content.start)[2],
            parse_statement(self.bodies[bytes.fromhex(content.statement_sha256)]),
            self.bodies[bytes.fromhex(content.weights_sha256)],
            parse_registry(self.bodies[bytes.fromhex(content.registry_sha256)]),
            {(each.method, each.version): each.confidence_ppm for _, each in self.placed(MethodContent)},
            frozenset(self.set_aside(number)),
        )
        corrections = [self.content(leaf) for leaf in pool_leaves]
        corrections += [self.registry.content(leaf) for leaf in registry_leaves]
        earlier = {line.account: line.new_minor for body in bodies for line in parse_adjusted(body).lines}
        return corrected(posted, corrections, earlier)

    # What it comes to, in plain integers.

    _accepted: dict[int, list[Event]] = field(default_factory=dict)
    _id_schemes: dict[str, str] = field(default_factory=dict)
    paid_by: dict[tuple[int, bytes | None], int] = field(default_factory=dict)
    """By leaf and event, of usage and of retractions: the posted round that took it."""
    waiting: Waiting | None = None
    """Why the last round that was asked for was not cut."""
    _positions: dict[int, list[int]] = field(default_factory=dict)
    """Of the accepted events, in their batch."""
    _retracted: dict[int, list[int]] = field(default_factory=dict)
    """By batch, the positions taken back."""
    _taken_back: dict[int, list[Event]] = field(default_factory=dict)
    """By retraction."""

    def _at(self, batch_leaf: int, positions: Sequence[int]) -> list[Event]:
        return [self._accepted[batch_leaf][self._positions[batch_leaf].index(at)] for at in positions]

    def events_of(self, platform: str) -> set[bytes | None]:
        mine = [index for index, content in self.placed(UsageContent) if content.platform == platform]
        return {event.event_id for index in mine for event in self._accepted[index]}

    def untaken(self, before: int | None = None) -> dict[UsageKey, UsageSum]:
        """The usage that no posted round took, of months before one if it is given."""
        given, taken = dict[UsageKey, list[Event]](), dict[UsageKey, list[Event]]()
        for index, content in self.placed(UsageContent):
            for event in self._left_of(index, self._accepted[index], before):
                given.setdefault(UsageKey(content.method, content.method_version, event.mode or 0), []).append(event)
        for index, retraction in self.placed(RetractionContent):
            batch: UsageContent = self.content(retraction.batch_leaf)
            for event in self._left_of(index, self._taken_back[index], before):
                taken.setdefault(UsageKey(batch.method, batch.method_version, event.mode or 0), []).append(event)
        return {key: usage_sum(given.get(key, []), taken.get(key, [])) for key in sorted({**given, **taken})}

    def _left_of(self, index: int, events: Sequence[Event], before: int | None) -> list[Event]:
        """Of what a leaf says happened or was taken back, what no posted round took."""
        return [
            event
            for event in events
            if (index, event.event_id) not in self.paid_by and (before is None or month_at(event) < before)
        ]

    def usage_of(self, period: Period) -> PeriodUsage:
        """What the round of a period would take, and how much of it is late."""
        late = self.untaken(period.first).values()
        counted = sum(each.events for each in late), sum(each.retracted for each in late)
        return self.untaken(period.end), counted

    def books(self) -> Books:
        """The money in, from plain lists."""
        reports = []
        for index, content in self.placed(ReportContent):
            taken_back = sum(each.amount_minor for _, each in self.placed(ReversalContent) if each.reverses == index)
            if left := content.amount_minor - taken_back:
                reports.append(Reported.of(content, left))
        admitted = set(self.platforms)
        for _, admission in self.placed(AdmissionContent):
            (admitted.add if admission.admitted else admitted.discard)(admission.platform)
        return Books(
            revenue_minor=self.balance(REVENUE),
            due_minor={each.platform: self.balance(due_account(each.platform)) for each in reports},
            reports=reports,
            admitted=sorted(admitted),
            waived={(content.period, content.platform) for _, content in self.placed(WaiverContent)},
        )

    def waive(self, period: str, platform: str = "acme") -> int:
        return self.append(WaiverContent(platform=platform, period=period, reason="they are late"))

    def tariff(self, platform: str = "", version: int = 1, **terms: Any) -> int:
        defaults = {"share_ppm": 20_000, "rate_minor": 5, "rate_units": 1_000, "minimum_minor": 10_000}
        content = TariffContent(platform=platform, version=version, period_from="2026-01", **{**defaults, **terms})
        return self.append(content)

    def left_over(self) -> tuple[Deficits, Carried]:
        """What the last posted round left to subtract, and the fractions that it carries on."""
        posted = [content.round for _, content in self.placed(PostingContent)]
        if not posted:
            return Deficits(), Carried()
        (last,) = [content for _, content in self.placed(RoundContent) if content.number == posted[-1]]
        lines = parse_statement(self.bodies[bytes.fromhex(last.statement_sha256)])
        return deficits_of(lines, last.deficit_unattributed), carried_of(lines, last.kept_after_nano)

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
        """Put another content in the place of one, with the right hash, also in rounds and decisions after it.

        What is left to find then is what the content says, not that it was changed.
        """
        time = self.time_of(index) + timedelta(seconds=late_by)
        judged_by = max(
            (getattr(self.content(before), "registry_size", 0) for before in range(min(index + 1, self.size()))),
            default=0,
        )
        self.entries[index] = encode(Leaf(self.pool, index, time, self.stamped(content, judged_by)))
        if seal and isinstance(content, PoolContent):
            self._open_otherwise(content)
        for later in range(index + 1, self.size() if seal else 0):
            found = self.content(later)
            if isinstance(found, RoundContent) and 0 <= found.end <= later:
                registry_root = self.registry.root_at(found.registry_size)
                sealed = {"root": self.root_at(found.end), "registry_root": registry_root}
            elif isinstance(found, DecisionContent) and 0 <= found.subject < later:
                sealed = {"subject_hash": self.entries[found.subject].hash.hex()}
            elif isinstance(found, ObjectionContent | AnswerContent):
                sealed = self._sealed(found, later)
            else:
                continue
            leaf = Leaf(self.pool, later, self.time_of(later), found.model_copy(update=sealed))
            self.entries[later] = encode(leaf)

    def _sealed(self, content: ObjectionContent | AnswerContent, leaf_index: int) -> dict[str, str]:
        """The hash that an objection or an answer must name."""
        before = [(index, self.content(index)) for index in range(leaf_index)]
        for index, found in reversed(before):
            if isinstance(content, ObjectionContent):
                if isinstance(found, RoundContent) and found.number == content.round:
                    return {"round_hash": self.entries[index].hash.hex()}
            elif isinstance(found, ObjectionContent) and found.key == (content.round, content.collective):
                return {"objection_hash": self.entries[index].hash.hex()}
        return {}

    def change(self, index: int, *, seal: bool = True, **fields: Any) -> None:
        """`rewrite` with other values in some fields of the content that is there."""
        if "by" in fields:
            fields.setdefault("by_key", _key_of(fields["by"]))
        self.rewrite(index, self.content(index).model_copy(update=fields), seal=seal)

    def _open_otherwise(self, content: PoolContent) -> None:
        """Have the registry say what the pool's first leaf says now."""
        if not 0 <= content.opened_at < self.registry.size():
            return
        opened = self.registry.content(content.opened_at)
        if not isinstance(opened, PoolOpenedContent):
            return
        said = {name: getattr(content, name) for name in ("display_name", "currency", "by", "by_key")}
        policy = content.policy.model_dump(mode="json")
        self.registry.rewrite(content.opened_at, opened.model_copy(update={**said, "policy": policy}))

    def restate(self, round_leaf: int, statement: bytes) -> None:
        """Put another statement under a round."""
        self.change(round_leaf, statement_sha256=self.put(statement))


def salt_at(index: int) -> str:
    """The salt of whatever is at a leaf, in hexadecimal: the same every time."""
    return sha256(f"salt {index}".encode()).hexdigest()


def _key_of(by: str) -> str:
    return "" if by in (POLICY, SCHEDULER) else key_of(by)


@cache
def _content(entry: bytes) -> Content:
    return decode(entry, CONTENTS).content


def usage_sum(given: Sequence[Event], taken: Sequence[Event]) -> UsageSum:
    """Both, one less the other; whoever either names is there, if only with zero."""
    names = {**attributed(given), **attributed(taken)}
    return UsageSum(
        len(given),
        len(taken),
        unattributed(given) - unattributed(taken),
        {name: attributed(given).get(name, 0) - attributed(taken).get(name, 0) for name in names},
        {name: counts(given).get(name, 0) - counts(taken).get(name, 0) for name in names},
    )


def month_at(event: Event) -> int:
    """The month of UTC in which an event occurred, counted from year 0."""
    occurred = datetime.fromtimestamp((event.occurred_at or 0) // 1_000_000, UTC)
    return 12 * occurred.year + occurred.month - 1


def counts(events: Sequence[Event]) -> dict[str, int]:
    """Events that name each collective."""
    return Counter(name or "" for event in events for name, _ in event.shares or ())


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


def verdict_of(steps: Generator[Progress, None, Verdict]) -> Verdict:
    """Returns what a replay finds at its end."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            verdict: Verdict = end.value
            return verdict
