"""Pools, policies, methods, memberships and schedules as messages, and back."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from ledger.errors import InvalidInputError
from ledger.income import Distribute
from ledger.registry import NANO, PPM
from ledger.store.pools.memberships import RecordedMembership
from ledger.store.pools.pools import PoolRecord
from ledger.usage.entries import AdmissionContent
from ledger.usage.methods import TOLERANCE_NANO, Method, ScoreKind, ScoreOrder, ScoreRule
from moiety.v1 import registry_pb2
from payout.policy import Approval, CommonsRule, Periods, Policy, Rounding, Tempering, UnattributedRule
from payout.schedule import next_fire_time
from payout.store.policies import LoggedPolicy
from payout.store.schedules import PoolSchedule
from services.api.convert.common import enum_name, timestamp
from services.api.etags import etag_of


def pool_to_proto(
    pool: PoolRecord, policy: LoggedPolicy, closed_at: datetime | None, platforms: Iterable[str]
) -> registry_pb2.Pool:
    return registry_pb2.Pool(
        name=f"pools/{pool.ref.name}",
        display_name=pool.display_name,
        currency=pool.ref.currency,
        distribute=registry_pb2.Distribute.Value(f"DISTRIBUTE_{pool.ref.distribute}"),
        policy=policy_to_proto(policy),
        log_size=pool.log_size,
        create_time=timestamp(pool.created_at),
        close_time=timestamp(closed_at) if closed_at else None,
        platforms=[f"platforms/{platform}" for platform in platforms],
    )


def admission_to_proto(pool: str, content: AdmissionContent) -> registry_pb2.Admission:
    platform = f"platforms/{content.platform}"
    return registry_pb2.Admission(pool=f"pools/{pool}", platform=platform, admitted=content.admitted)


def distribute_of(value: registry_pb2.Distribute.ValueType) -> str:
    """Returns what a pool distributes; RECEIVED if it is not said.

    Raises:
        InvalidInputError: the enum has no such value.
    """
    return enum_name(registry_pb2.Distribute, value, Distribute.RECEIVED, "pool.distribute")


def policy_to_proto(logged: LoggedPolicy) -> registry_pb2.Policy:
    policy = logged.policy
    return registry_pb2.Policy(
        version=logged.version,
        fee_ppm=policy.fee_ppm,
        fee_cap_minor=policy.fee_cap_minor,
        commons_ppm=policy.commons_ppm,
        unattributed=registry_pb2.UnattributedRule.Value(f"UNATTRIBUTED_RULE_{policy.unattributed.value}"),
        commons_rule=registry_pb2.CommonsRule.Value(f"COMMONS_RULE_{policy.commons_rule.value}"),
        tempering=registry_pb2.Tempering.Value(f"TEMPERING_{policy.tempering.value}"),
        floor_minor=policy.floor_minor,
        cap_minor=policy.cap_minor,
        ai_only_ppm=policy.ai_only_ppm,
        human_ai_ppm=policy.human_ai_ppm,
        review_seconds=policy.review_seconds,
        approval=registry_pb2.Approval.Value(f"APPROVAL_{policy.approval.value}"),
        leaf_index=logged.leaf_index,
        rounding=registry_pb2.Rounding.Value(f"ROUNDING_{policy.rounding.value}"),
        period=registry_pb2.Periods.Value(f"PERIODS_{policy.period.value}"),
        period_from=policy.period_from,
        recoup_ppm=policy.recoup_ppm,
        public=policy.public,
    )


def policy_from_proto(message: registry_pb2.Policy) -> Policy:
    """Returns the policy. Unset fields have their defaults.

    Raises:
        InvalidInputError: a field is out of bounds; the error names it.
    """
    unattributed = enum_name(registry_pb2.UnattributedRule, message.unattributed, "COMMONS", "policy.unattributed")
    commons_rule = enum_name(registry_pb2.CommonsRule, message.commons_rule, "EQUAL", "policy.commons_rule")
    tempering = enum_name(registry_pb2.Tempering, message.tempering, "PROPORTIONAL", "policy.tempering")
    rounding = enum_name(registry_pb2.Rounding, message.rounding, "CARRIED", "policy.rounding")
    return Policy(
        fee_ppm=message.fee_ppm,
        fee_cap_minor=message.fee_cap_minor if message.HasField("fee_cap_minor") else None,
        commons_ppm=message.commons_ppm,
        unattributed=UnattributedRule(unattributed),
        commons_rule=CommonsRule(commons_rule),
        tempering=Tempering(tempering),
        floor_minor=message.floor_minor,
        cap_minor=message.cap_minor if message.HasField("cap_minor") else None,
        ai_only_ppm=message.ai_only_ppm if message.HasField("ai_only_ppm") else PPM,
        human_ai_ppm=message.human_ai_ppm if message.HasField("human_ai_ppm") else PPM,
        review_seconds=message.review_seconds,
        rounding=Rounding(rounding),
        approval=Approval(enum_name(registry_pb2.Approval, message.approval, "OPERATOR", "policy.approval")),
        period=Periods(enum_name(registry_pb2.Periods, message.period, "NONE", "policy.period")),
        period_from=message.period_from,
        recoup_ppm=message.recoup_ppm,
        public=message.public,
    ).require_sound()


def method_to_proto(pool: str, method: Method) -> registry_pb2.Method:
    rule = method.score_rule
    return registry_pb2.Method(
        name=f"pools/{pool}/methods/{method.name}",
        version=method.version,
        display_name=method.display_name,
        confidence_ppm=method.confidence_ppm,
        evidence_uri=method.evidence_uri,
        leaf_index=method.leaf_index,
        covers=method.covers,
        score_kind=registry_pb2.ScoreKind.Value(f"SCORE_KIND_{rule.kind.value if rule else 'UNSPECIFIED'}"),
        score_order=registry_pb2.ScoreOrder.Value(f"SCORE_ORDER_{rule.order.value if rule else 'UNSPECIFIED'}"),
        coverage_nano=rule.coverage_nano if rule else None,
        sum_repeats=bool(rule and rule.sum_repeats),
        tolerance_nano=rule.tolerance_nano if rule and rule.kind is ScoreKind.SHARE else None,
        membership=method.membership,
    )


def method_from_proto(method_id: str, message: registry_pb2.Method) -> Method:
    """Returns the method. Unset fields have their defaults.

    Raises:
        InvalidInputError: a field is out of bounds; the error names it.
    """
    return Method(
        method_id,
        message.display_name,
        message.confidence_ppm,
        message.evidence_uri,
        covers=message.covers,
        score_rule=_score_rule(message),
        membership=message.membership,
    )


def _score_rule(message: registry_pb2.Method) -> ScoreRule | None:
    kind = enum_name(registry_pb2.ScoreKind, message.score_kind, "", "method.score_kind")
    order = enum_name(registry_pb2.ScoreOrder, message.score_order, "", "method.score_order")
    if kind:
        coverage_nano = message.coverage_nano if message.HasField("coverage_nano") else NANO
        tolerance_nano = TOLERANCE_NANO if kind == ScoreKind.SHARE else 0
        if message.HasField("tolerance_nano"):
            tolerance_nano = message.tolerance_nano
        order = order or ScoreOrder.SUM_THEN_CLIP
        return ScoreRule(ScoreKind(kind), ScoreOrder(order), coverage_nano, message.sum_repeats, tolerance_nano)
    parts = {
        "score_order": bool(order),
        "coverage_nano": message.HasField("coverage_nano"),
        "sum_repeats": message.sum_repeats,
        "tolerance_nano": message.HasField("tolerance_nano"),
    }
    for field, is_set in parts.items():
        if is_set:
            raise InvalidInputError.of(f"method.{field}", "is allowed only with a score_kind")
    return None


def membership_to_proto(pool: str, recorded: RecordedMembership) -> registry_pb2.Membership:
    content = recorded.content
    return registry_pb2.Membership(
        name=f"pools/{pool}/memberships/{content.membership}",
        version=content.version,
        body_sha256=bytes.fromhex(content.body_sha256),
        body_bytes=content.body_bytes,
        source_count=content.sources,
        collective_count=content.collectives,
        leaf_index=recorded.leaf_index,
        create_time=timestamp(recorded.time),
    )


def schedule_to_proto(schedule: PoolSchedule) -> registry_pb2.Schedule:
    return registry_pb2.Schedule(
        name=f"pools/{schedule.pool.name}/schedule",
        cron=schedule.cron,
        time_zone=schedule.time_zone,
        paused=schedule.paused,
        update_time=timestamp(schedule.updated_at),
        next_fire_time=timestamp(next_fire_time(schedule)),
        skip_time=timestamp(schedule.skipped_at) if schedule.skipped_at else None,
        skip_reason=registry_pb2.SkipReason.Value(
            f"SKIP_REASON_{schedule.skipped_because.value if schedule.skipped_because else 'UNSPECIFIED'}"
        ),
        etag=schedule_etag(schedule.cron, schedule.time_zone, paused=schedule.paused),
    )


def schedule_etag(cron: str, time_zone: str, *, paused: bool) -> str:
    return etag_of(cron, time_zone, paused)
