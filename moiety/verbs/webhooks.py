"""Verbs of the WebhooksService: where entries are sent."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from functools import cached_property

from moiety.connection import PAGE_SIZE
from moiety.steps import Pages, Steps
from moiety.v1 import webhooks_pb2 as pb
from moiety.v1.webhooks_pb2_grpc import WebhooksServiceStub
from moiety.verbs.base import Verbs, listing, verb


class WebhooksVerbs(Verbs):
    """Webhooks: addresses to which the entries of a log are sent."""

    @cached_property
    def _webhooks(self) -> WebhooksServiceStub:
        return WebhooksServiceStub(self._connection.channel)

    @verb
    def create_webhook(
        self,
        webhook: str,
        log: str,
        url: str,
        *,
        types: Sequence[str] = (),
        start: int | None = None,
        owner: str = "",
        secret: str = "",
        reason: str = "",
    ) -> Steps[pb.Webhook]:
        """Register a webhook; `secret` of what this returns signs what is sent to it, and is given only once.

        Args:
            webhook: its id.
            log: the log that it is sent, `pools/folk` or `registry`.
            url: where events are posted to.
            types: the only types of entries that are sent, such as `posting.v1`; all by default.
            start: the first leaf that is sent; by default only what comes from now on.
            owner: who may see what is sent, `platforms/acme`; by default the caller, and only operators name others.
            secret: what is to sign, from `make_webhook_secret`; made here by default.
            reason: why.
        """
        asked = pb.Webhook(owner=owner, log=log, url=url, types=types)
        if start is not None:
            asked.start = start
        # Made here, so that a call that is repeated after a lost answer asks for the same.
        request = pb.CreateWebhookRequest(
            webhook_id=webhook, webhook=asked, secret=secret or make_webhook_secret(), reason=reason
        )
        return self._connection.unary(self._webhooks.CreateWebhook, request, repeat=True)

    @verb
    def pause_webhook(self, webhook: str, *, reason: str = "") -> Steps[pb.Webhook]:
        """Send a webhook nothing until it is resumed."""
        return self._set_state(webhook, pb.WEBHOOK_STATE_PAUSED, reason)

    @verb
    def resume_webhook(self, webhook: str, *, reason: str = "") -> Steps[pb.Webhook]:
        """Have a webhook go on where it was, at once, also where it failed or answered 410 Gone."""
        return self._set_state(webhook, pb.WEBHOOK_STATE_ACTIVE, reason)

    @verb
    def remove_webhook(self, webhook: str, *, reason: str = "") -> Steps[pb.Webhook]:
        """Remove a webhook, for ever."""
        return self._set_state(webhook, pb.WEBHOOK_STATE_REMOVED, reason)

    def _set_state(self, webhook: str, state: pb.WebhookState.ValueType, reason: str) -> Steps[pb.Webhook]:
        request = pb.SetWebhookStateRequest(name=f"webhooks/{webhook}", state=state, reason=reason)
        return self._connection.unary(self._webhooks.SetWebhookState, request, repeat=True)

    @verb
    def rotate_webhook_secret(self, webhook: str, *, secret: str = "", reason: str = "") -> Steps[pb.Webhook]:
        """Replace a webhook's secret, which is in what this returns; for a day, the old one signs too."""
        request = pb.RotateWebhookSecretRequest(
            name=f"webhooks/{webhook}", secret=secret or make_webhook_secret(), reason=reason
        )
        return self._connection.unary(self._webhooks.RotateWebhookSecret, request, repeat=True)

    @verb
    def test_webhook(self, webhook: str) -> Steps[pb.TestWebhookResponse]:
        """Send a webhook an event that says nothing, once, and tell what it answers."""
        request = pb.TestWebhookRequest(name=f"webhooks/{webhook}")
        return self._connection.unary(self._webhooks.TestWebhook, request, repeat=False)

    @verb
    def get_webhook(self, webhook: str) -> Steps[pb.Webhook]:
        """Give a webhook, and how far it was sent its log."""
        request = pb.GetWebhookRequest(name=f"webhooks/{webhook}")
        return self._connection.unary(self._webhooks.GetWebhook, request, repeat=True)

    @listing
    def list_webhooks(self) -> Pages[pb.Webhook]:
        """Return webhooks by id: a platform's or a collective's own, else all; those that were removed too."""
        request = pb.ListWebhooksRequest(page_size=PAGE_SIZE)
        return self._connection.pages(self._webhooks.ListWebhooks, request, lambda page: page.webhooks)


def make_webhook_secret() -> str:
    """Returns a new secret, as Standard Webhooks has them: `whsec_` and base64 of 32 random bytes."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
