"""Webhooks as messages."""

from __future__ import annotations

from typing import Final

from ledger.acts.entries import WebhookContent, WebhookState
from ledger.store.desk.deliveries import Delivery
from ledger.store.desk.webhooks import Webhook
from moiety.v1 import webhooks_pb2 as pb
from services.api.convert.common import timestamp

_STATES: Final = {
    WebhookState.ACTIVE: pb.WEBHOOK_STATE_ACTIVE,
    WebhookState.PAUSED: pb.WEBHOOK_STATE_PAUSED,
    WebhookState.REMOVED: pb.WEBHOOK_STATE_REMOVED,
}


def proposed_webhook_to_proto(content: WebhookContent, url: str) -> pb.Webhook:
    return pb.Webhook(
        name=f"webhooks/{content.webhook}",
        owner=content.owner,
        log=content.log,
        url=url,
        origin=content.origin,
        types=content.types,
        start=content.start,
        state=_STATES[WebhookState(content.state)],
    )


def webhook_to_proto(webhook: Webhook, url: str, delivery: Delivery | None, log_size: int) -> pb.Webhook:
    message = proposed_webhook_to_proto(webhook.content, url)
    message.leaf_index = webhook.leaf.index
    created = timestamp(webhook.created_at)
    if created is not None:
        message.create_time.CopyFrom(created)
    if delivery is not None:
        message.delivery.CopyFrom(_delivery(delivery, log_size))
    return message


def _delivery(delivery: Delivery, log_size: int) -> pb.WebhookDelivery:
    message = pb.WebhookDelivery(
        next_leaf=delivery.next_leaf,
        log_size=log_size,
        event_count=delivery.events,
        last_status=delivery.status or 0,
        last_problem=delivery.problem,
        failure_count=delivery.failures,
        is_gone=delivery.is_gone,
    )
    times = {
        "last_sent_time": delivery.sent_at,
        "last_attempt_time": delivery.tried_at,
        "failing_since_time": delivery.failing_since,
        "next_attempt_time": delivery.next_at if delivery.failures and not delivery.is_gone else None,
    }
    for field, moment in times.items():
        if moment is not None:
            getattr(message, field).CopyFrom(timestamp(moment))
    return message
