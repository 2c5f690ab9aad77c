"""Between the contract's messages and our own values: one name each way, and nowhere else."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from ledger.entries import (
    GrantContent,
    PaymentContent,
    ReleaseContent,
    RevenueContent,
)
from ledger.errors import InvalidInputError
from ledger.journal import Purpose
from ledger.registry import PPM, Collective, CollectiveStatus, Platform
from ledger.store.checkpoints import StoredCheckpoint
from ledger.store.journal import PlacedTransfer, RecordedLeaf
from ledger.store.memberships import RecordedMembership
from ledger.store.registry import PoolRecord
from ledger.store.usage.batches import RecordedBatch
from ledger.store.usage.retractions import RecordedRetraction
from ledger.usage.entries import decode_positions
from ledger.usage.methods import Method, ScoreKind, ScoreOrder, ScoreRule
from ledger.usage.shares import NANO
from moiety import DomainMap, InvalidDomainError
from moiety.v1 import accounts_pb2, audit_pb2, registry_pb2, revenue_pb2, rounds_pb2, usage_pb2
from payout.entries import RoundContent
from payout.fairness import ByMode, Concentration, FairnessReport
from payout.policy import (
    CommonsRule,
    Policy,
    Tempering,
    UnattributedRule,
)
from payout.rounds import Line
from payout.schedule import next_fire_time
from payout.store.pools import LoggedPolicy, PoolSchedule
from payout.store.rounds import RoundRecord
from services.access.keys import ApiKey
from services.api.names import batch_name


def timestamp(moment: datetime | None) -> Timestamp | None:
    """A moment as protobuf has it; None stays None, which leaves a field unset."""
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def checkpoint_to_proto(pool: str, checkpoint: StoredCheckpoint) -> audit_pb2.Checkpoint:
    return audit_pb2.Checkpoint(
        name=f"pools/{pool}/checkpoints/{checkpoint.size}",
        size=checkpoint.size,
        note=checkpoint.cosigned_note(),
        verifier_key=str(checkpoint.key),
        cosignatures=[
            audit_pb2.Cosignature(verifier_key=str(found.key), cosign_time=Timestamp(seconds=found.time_seconds))
            for found in checkpoint.cosignatures
        ],
        create_time=timestamp(checkpoint.created_at),
    )


def platform_to_proto(platform: Platform) -> registry_pb2.Platform:
    return registry_pb2.Platform(
        name=f"platforms/{platform.name}",
        display_name=platform.display_name,
        create_time=timestamp(platform.created_at),
    )


def platform_from_proto(platform_id: str, message: registry_pb2.Platform) -> Platform:
    return Platform(platform_id, message.display_name)


def collective_to_proto(collective: Collective) -> registry_pb2.Collective:
    return registry_pb2.Collective(
        name=f"collectives/{collective.name}",
        display_name=collective.display_name,
        members=collective.members,
        equity_ppm=collective.equity_ppm,
        status=registry_pb2.CollectiveStatus.Value(f"COLLECTIVE_STATUS_{collective.status.value}"),
        domains=collective.domains,
        create_time=timestamp(collective.created_at),
    )


def collective_from_proto(collective_id: str, message: registry_pb2.Collective) -> Collective:
    status = _enum(registry_pb2.CollectiveStatus, message.status, "ACTIVE", "collective.status")
    return Collective(
        collective_id,
        message.display_name,
        members=message.members,
        equity_ppm=message.equity_ppm if message.HasField("equity_ppm") else PPM,
        status=CollectiveStatus(status),
        domains=_domains(collective_id, message.domains),
    )


def _domains(collective_id: str, declared: Sequence[str]) -> tuple[str, ...]:
    """Domains, sorted and each once, or InvalidInputError where one is none or is written in another way."""
    for place, domain in enumerate(declared):
        field = f"collective.domains[{place}]"
        try:
            (canonical,) = DomainMap({collective_id: [domain]}).domains_of(collective_id)
        except InvalidDomainError as error:
            raise InvalidInputError.of(field, f"{domain[:80]!r} {error.reason}") from None
        if domain != canonical:
            raise InvalidInputError.of(field, f"must be written {canonical!r}, is {domain!r}")
    return tuple(sorted(set(declared)))


def pool_to_proto(pool: PoolRecord, policy: LoggedPolicy) -> registry_pb2.Pool:
    return registry_pb2.Pool(
        name=f"pools/{pool.ref.name}",
        display_name=pool.display_name,
        currency=pool.ref.currency,
        policy=policy_to_proto(policy),
        log_size=pool.log_size,
        create_time=timestamp(pool.created_at),
    )


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
        leaf_index=logged.leaf_index,
    )


def policy_from_proto(message: registry_pb2.Policy) -> Policy:
    """The policy, or InvalidInputError with the field that is out of bounds. What is unset takes its default."""
    unattributed = _enum(registry_pb2.UnattributedRule, message.unattributed, "COMMONS", "policy.unattributed")
    commons_rule = _enum(registry_pb2.CommonsRule, message.commons_rule, "EQUAL", "policy.commons_rule")
    tempering = _enum(registry_pb2.Tempering, message.tempering, "PROPORTIONAL", "policy.tempering")
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
    ).require_sound()


def _enum(kind: Any, number: int, unspecified: str, field: str) -> str:
    """A value's name without the prefix that all values of its enum share, or InvalidInputError: enums are open."""
    if number not in kind.values():
        raise InvalidInputError.of(field, f"{number} is not a value of {kind.DESCRIPTOR.name}")
    if not number:
        return unspecified
    name: str = kind.Name(number)
    return name.removeprefix(kind.Name(0).removesuffix("UNSPECIFIED"))


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
        membership=method.membership,
    )


def method_from_proto(method_id: str, message: registry_pb2.Method) -> Method:
    """The method, or InvalidInputError with the field that is out of bounds. What is unset takes its default."""
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
    kind = _enum(registry_pb2.ScoreKind, message.score_kind, "", "method.score_kind")
    order = _enum(registry_pb2.ScoreOrder, message.score_order, "", "method.score_order")
    if kind:
        coverage_nano = message.coverage_nano if message.HasField("coverage_nano") else NANO
        return ScoreRule(ScoreKind(kind), ScoreOrder(order or ScoreOrder.SUM_THEN_CLIP), coverage_nano)
    for field, is_set in (("score_order", order), ("coverage_nano", message.HasField("coverage_nano"))):
        if is_set:
            raise InvalidInputError.of(f"method.{field}", "is for methods with a score_kind")
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
    )


def api_key_to_proto(key: ApiKey) -> registry_pb2.ApiKey:
    return registry_pb2.ApiKey(
        name=f"keys/{key.key_id}",
        principal=key.principal,
        create_time=timestamp(key.created_at),
        revoke_time=timestamp(key.revoked_at),
    )


def receipt_to_proto(pool: str, batch: RecordedBatch, *, with_positions: bool = True) -> usage_pb2.Receipt:
    content = batch.content
    positions = batch.duplicate_positions()
    return usage_pb2.Receipt(
        name=batch_name(pool, content.platform, content.batch_id),
        leaf_index=batch.leaf_index,
        leaf_hash=batch.leaf_hash,
        body_sha256=bytes.fromhex(content.body_sha256),
        accepted_count=content.accepted,
        duplicate_count=len(positions),
        duplicate_positions=positions if with_positions else (),
        method=f"pools/{pool}/methods/{content.method}",
        method_version=content.method_version,
        create_time=timestamp(batch.time),
        membership=f"pools/{pool}/memberships/{content.membership}" if content.membership else "",
        membership_version=content.membership_version or 0,
    )


def revenue_to_proto(recorded: RecordedLeaf) -> revenue_pb2.Revenue:
    content: RevenueContent = recorded.leaf.content
    return revenue_pb2.Revenue(
        name=f"pools/{recorded.leaf.pool}/revenues/{content.platform}~{content.request_id}",
        platform=f"platforms/{content.platform}",
        amount_minor=content.amount_minor,
        currency=content.currency,
        note=content.note,
        leaf_index=recorded.leaf.index,
        leaf_hash=recorded.hash,
        create_time=timestamp(recorded.leaf.time),
    )


def payment_to_proto(recorded: RecordedLeaf) -> accounts_pb2.Payment:
    content: PaymentContent = recorded.leaf.content
    return accounts_pb2.Payment(
        name=f"pools/{recorded.leaf.pool}/payments/{content.request_id}",
        collective=f"collectives/{content.collective}",
        amount_minor=content.amount_minor,
        reference=content.reference,
        leaf_index=recorded.leaf.index,
        create_time=timestamp(recorded.leaf.time),
    )


def release_to_proto(recorded: RecordedLeaf) -> accounts_pb2.Release:
    content: ReleaseContent = recorded.leaf.content
    return accounts_pb2.Release(
        name=f"pools/{recorded.leaf.pool}/releases/{content.request_id}",
        collective=f"collectives/{content.collective}",
        amount_minor=content.amount_minor,
        to_commons=content.to_commons,
        reason=content.reason,
        decided_by=content.decided_by,
        leaf_index=recorded.leaf.index,
        create_time=timestamp(recorded.leaf.time),
    )


def grant_to_proto(recorded: RecordedLeaf) -> accounts_pb2.Grant:
    content: GrantContent = recorded.leaf.content
    return accounts_pb2.Grant(
        name=f"pools/{recorded.leaf.pool}/grants/{content.request_id}",
        collective=f"collectives/{content.collective}",
        amount_minor=content.amount_minor,
        reason=content.reason,
        decided_by=content.decided_by,
        leaf_index=recorded.leaf.index,
        create_time=timestamp(recorded.leaf.time),
    )


def retraction_to_proto(pool: str, recorded: RecordedRetraction) -> usage_pb2.Retraction:
    return usage_pb2.Retraction(
        batch=batch_name(pool, recorded.content.platform, recorded.batch_id),
        leaf_index=recorded.leaf_index,
        leaf_hash=recorded.leaf_hash,
        positions=decode_positions(recorded.content.positions),
        create_time=timestamp(recorded.time),
    )


def transfer_to_proto(placed: PlacedTransfer) -> accounts_pb2.Transfer:
    return accounts_pb2.Transfer(
        leaf_index=placed.leaf_index,
        ordinal=placed.ordinal,
        from_account=placed.transfer.from_account,
        to_account=placed.transfer.to_account,
        amount_minor=placed.transfer.amount_minor,
        purpose=purpose_to_proto(placed.transfer.purpose),
    )


def purpose_to_proto(purpose: Purpose) -> accounts_pb2.TransferPurpose.ValueType:
    return accounts_pb2.TransferPurpose.Value(f"TRANSFER_PURPOSE_{purpose.value}")


def round_to_proto(pool: str, currency: str, record: RoundRecord, policy: LoggedPolicy) -> rounds_pb2.Round:
    message = preview_to_proto(currency, record.content, policy)
    message.name = f"pools/{pool}/rounds/{record.content.number}"
    message.state = rounds_pb2.RoundState.Value(f"ROUND_STATE_{record.state.value}")
    message.leaf_index = record.leaf_index
    message.calculated_by = record.content.calculated_by
    message.calculate_time.FromDatetime(record.calculated_at)
    if record.decision:
        message.decided_by = record.decision.decided_by
        message.reason = record.decision.reason
    if record.decided_at:
        message.decide_time.FromDatetime(record.decided_at)
    if record.posted_at:
        message.post_time.FromDatetime(record.posted_at)
    return message


def preview_to_proto(currency: str, content: RoundContent, policy: LoggedPolicy) -> rounds_pb2.Round:
    """A round that was not recorded: its figures, without name, state and people."""
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
        statement_sha256=bytes.fromhex(content.statement_sha256),
        registry_sha256=bytes.fromhex(content.registry_sha256),
        previous_number=content.previous,
        retracted_count=content.retracted,
        weights_sha256=bytes.fromhex(content.weights_sha256),
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
