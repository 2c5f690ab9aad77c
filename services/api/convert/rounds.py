"""Rounds, allocations and fairness as messages."""

from __future__ import annotations

from datetime import datetime

from ledger.log.leaves import Leaf
from moiety.v1 import rounds_pb2
from payout.entries import RoundContent
from payout.fairness import ByMode, Concentration, FairnessReport
from payout.objections import review_ends
from payout.rounds import Line
from payout.splits import SplitContent
from payout.store.objections import ObjectionRecord
from payout.store.policies import LoggedPolicy
from payout.store.rounds import RoundRecord
from services.api.convert.common import timestamp
from services.api.convert.pools import policy_to_proto


def round_to_proto(pool: str, currency: str, record: RoundRecord, policy: LoggedPolicy) -> rounds_pb2.Round:
    message = preview_to_proto(currency, record.content, policy)
    message.name = f"pools/{pool}/rounds/{record.content.number}"
    message.state = rounds_pb2.RoundState.Value(f"ROUND_STATE_{record.state.value}")
    message.leaf_index = record.leaf_index
    message.calculated_by = record.content.by
    message.calculate_time.FromDatetime(record.calculated_at)
    message.review_end_time.FromDatetime(review_ends(record.calculated_at, policy.policy))
    if record.decision:
        message.decided_by = record.decision.by
        message.reason = record.decision.reason
    if record.decided_at:
        message.decide_time.FromDatetime(record.decided_at)
    if record.posted_at:
        message.post_time.FromDatetime(record.posted_at)
    return message


def objection_to_proto(pool: str, found: ObjectionRecord) -> rounds_pb2.Objection:
    said = found.objection.content
    message = rounds_pb2.Objection(
        name=f"pools/{pool}/rounds/{said.round}/objections/{said.collective}",
        collective=said.by,
        reason=said.reason,
        object_time=timestamp(found.objection.time),
        leaf_index=found.objection.index,
    )
    if found.answer:
        answered = found.answer.content
        message.answer = rounds_pb2.ObjectionAnswer.Value(f"OBJECTION_ANSWER_{answered.answer}")
        message.answer_reason = answered.reason
        message.answered_by = answered.by
        message.answer_time.FromDatetime(found.answer.time)
        message.answer_leaf_index = found.answer.index
    return message


def split_to_proto(pool: str, found: Leaf[SplitContent]) -> rounds_pb2.Split:
    said = found.content
    return rounds_pb2.Split(
        round=f"pools/{pool}/rounds/{said.round}",
        collective=f"collectives/{said.collective}",
        amount_minor=said.amount_minor,
        line_count=said.lines,
        split_root=bytes.fromhex(said.split_root),
        rule=said.rule,
        leaf_index=found.index,
    )


def preview_to_proto(currency: str, content: RoundContent, policy: LoggedPolicy) -> rounds_pb2.Round:
    """Returns a round that was not recorded: its figures, without name, state and people."""
    return rounds_pb2.Round(
        number=content.number,
        currency=currency,
        start=content.start,
        end=content.end,
        root=bytes.fromhex(content.root),
        policy=policy_to_proto(policy),
        event_count=content.events,
        pot_minor=content.pot_minor,
        fee_minor=content.fee_minor,
        allocated_minor=content.attributed_minor + content.commons_minor,
        attributed_minor=content.attributed_minor,
        commons_minor=content.commons_minor,
        commons_kept_minor=content.commons_kept_minor,
        carried_minor=content.carried_minor,
        rounding_minor=content.rounding_minor,
        period=content.period,
        late_event_count=content.late_events,
        late_retracted_count=content.late_retracted,
        late_minor=content.late_minor,
        waived_platforms=[f"platforms/{name}" for name in content.waived],
        statement_sha256=bytes.fromhex(content.statement_sha256),
        registry_sha256=bytes.fromhex(content.registry_sha256),
        previous_number=content.previous,
        retracted_count=content.retracted,
        weights_sha256=bytes.fromhex(content.weights_sha256),
        statement_root=bytes.fromhex(content.statement_root),
        statement_lines=content.statement_lines,
        fire_times=_fire_times(content),
    )


def _fire_times(content: RoundContent) -> rounds_pb2.FireTimes | None:
    if content.fire_times is None:
        return None
    first, last = (datetime.fromisoformat(text) for text in (content.fire_times.first, content.fire_times.last))
    return rounds_pb2.FireTimes(first=timestamp(first), last=timestamp(last), count=content.fire_times.count)


def allocation_to_proto(line: Line) -> rounds_pb2.Allocation:
    return rounds_pb2.Allocation(
        collective=f"collectives/{line.collective}",
        attributed_minor=line.attributed_minor,
        commons_minor=line.commons_minor,
        amount_minor=line.amount_minor,
        weight=str(line.weight),
        event_count=line.events,
        deficit=str(line.deficit_after),
        attributed_carried_nano=line.attributed_after_nano,
        commons_carried_nano=line.commons_after_nano,
    )


def fairness_to_proto(report: FairnessReport) -> rounds_pb2.Fairness:
    return rounds_pb2.Fairness(
        registered=_concentration(report.registered),
        paid=_concentration(report.paid),
        fee_ppm=report.fee_ppm,
        commons_ppm=report.commons_ppm,
        usage=_by_mode(report.usage),
        attributed_minor=_by_mode(report.attributed_minor),
    )


def _concentration(found: Concentration | None) -> rounds_pb2.Concentration | None:
    if found is None:
        return None
    return rounds_pb2.Concentration(
        collectives=found.collectives,
        amount_minor=found.amount_minor,
        gini_ppm=found.gini_ppm,
        top_percent_collectives=found.top_percent_collectives,
        top_percent_ppm=found.top_percent_ppm,
        herfindahl_ppm=found.herfindahl_ppm,
        jain_ppm=found.jain_ppm,
        lorenz=[rounds_pb2.LorenzPoint(collectives=n, amount_minor=amount) for n, amount in found.lorenz],
    )


def _by_mode(found: ByMode) -> rounds_pb2.ByMode:
    return rounds_pb2.ByMode(ai_only=str(found.ai_only), human_ai=str(found.human_ai), human_ai_ppm=found.human_ai_ppm)
