"""The webhooks service: where entries are sent."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import grpc
import sqlalchemy as sa

from ledger.acts.entries import REGISTRY_CONTENTS, WebhookContent, WebhookState
from ledger.acts.webhooks import WebhookDetails
from ledger.errors import AlreadyExistsError, InvalidInputError, LedgerCorruptError, StateError
from ledger.registry import require_range, require_resource_id
from ledger.store.desk import webhooks
from ledger.store.desk.deliveries import list_deliveries, try_again
from ledger.store.logs import log
from ledger.store.logs.log import REGISTRY, PoolRef, log_name
from ledger.store.postgres.gates import Gate
from ledger.store.postgres.transactions import read_time
from ledger.store.registry.acts import Outcome
from ledger.store.registry.people import read_people
from moiety.v1 import webhooks_pb2 as pb
from moiety.v1 import webhooks_pb2_grpc
from payout.entries import CONTENTS
from services.access.keys import Principal, Role
from services.access.permissions import PermissionDeniedError, actor, caller
from services.access.sight import sees_all
from services.api import convert
from services.api.names import only_id, page_limit, place_in
from services.api.outcomes import told
from services.api.pages import page_of
from services.api.resources import log_of
from services.parts import Parts
from services.webhooks.addresses import Reach
from services.webhooks.signing import make_secret, require_secret

FORMER_SECONDS: Final = 86_400
"""How long a secret that was replaced signs too."""

TESTS_AT_ONCE: Final = 2
"""Of one owner one: a receiver that never answers keeps a thread for as long as an attempt may take."""

TESTS_WAITING: Final = 2 * TESTS_AT_ONCE

_STATES: Final = {
    pb.WEBHOOK_STATE_ACTIVE: WebhookState.ACTIVE,
    pb.WEBHOOK_STATE_PAUSED: WebhookState.PAUSED,
    pb.WEBHOOK_STATE_REMOVED: WebhookState.REMOVED,
}


class WebhooksService(webhooks_pb2_grpc.WebhooksServiceServicer):
    """Registers, changes, tries and lists webhooks."""

    def __init__(self, parts: Parts) -> None:
        self._database, self._acts, self._vault = parts.database, parts.acts, parts.vault
        self._deliverer = parts.deliverer
        self._clock = parts.clock
        self._reach = Reach.of(parts.settings)
        self._tests = Gate(TESTS_AT_ONCE, of_one=1, waiting=TESTS_WAITING)

    def CreateWebhook(self, request: pb.CreateWebhookRequest, context: grpc.ServicerContext) -> pb.Webhook:
        asked = request.webhook
        name = require_resource_id(request.webhook_id, "webhook_id")
        owner = _owner_of(asked.owner)
        origin = self._reach.target(asked.url).origin
        secret = require_secret(request.secret, "secret") if request.secret else make_secret()
        details = WebhookDetails(asked.url, secret)
        with self._database.transaction() as connection:
            pool = log_of(connection, asked.log, "webhook.log")
            if pool == REGISTRY and not sees_all(owner):
                raise PermissionDeniedError(caller(), REGISTRY.name)
            before = webhooks.find_webhook(connection, name)
            if before is not None:
                _require_repeatable(before)
                details = details if request.secret else self._kept(connection, before, asked.url)
            content = WebhookContent(
                webhook=name,
                owner=owner.name,
                log=log_name(pool),
                origin=origin,
                types=_types(asked, pool),
                start=_start(connection, asked, pool, before),
                state=_state(before),
                details_hash=self._keep(connection, name, details),
            )
            self._require_same(before, content)
            is_new = before is None or before.content.details_hash != content.details_hash
            outcome = self._acts.perform(connection, REGISTRY, content, actor(), request.reason)
            shown = self._told(connection, outcome, content, details.url)
        shown.secret = secret if is_new else request.secret
        return shown

    def _kept(self, connection: sa.Connection, before: webhooks.Webhook, url: str) -> WebhookDetails:
        """The details of a webhook that is there already, if it has this address."""
        known = webhooks.read_details(connection, self._vault, before.content)
        if known is None or known.url != url:
            raise AlreadyExistsError(f"webhooks/{before.name}")
        return known

    @staticmethod
    def _require_same(before: webhooks.Webhook | None, content: WebhookContent) -> None:
        """Check that creating a webhook that is there already changes nothing."""
        if before is not None and before.content.said() != content.said():
            raise AlreadyExistsError(f"webhooks/{before.name}")

    def SetWebhookState(self, request: pb.SetWebhookStateRequest, context: grpc.ServicerContext) -> pb.Webhook:
        name = only_id(request.name, "webhooks", "name")
        if request.state not in _STATES:
            raise InvalidInputError.of("state", "must be ACTIVE, PAUSED or REMOVED")
        with self._database.transaction() as connection:
            before = self._own(connection, name)
            content = _unstamped(before.content).model_copy(update={"state": _STATES[request.state].value})
            outcome = self._acts.perform(connection, REGISTRY, content, actor(), request.reason)
            if outcome.proposal is None and content.state == WebhookState.ACTIVE:
                try_again(connection, name, read_time(connection))
            return self._told(connection, outcome, content)

    def RotateWebhookSecret(self, request: pb.RotateWebhookSecretRequest, context: grpc.ServicerContext) -> pb.Webhook:
        name = only_id(request.name, "webhooks", "name")
        secret = require_secret(request.secret, "secret") if request.secret else make_secret()
        with self._database.transaction() as connection:
            before = self._own(connection, name)
            known = webhooks.read_details(connection, self._vault, before.content)
            if known is None:
                raise StateError(f"webhooks/{name}", "DETAILS_ERASED", "its address and secret were erased")
            if known.secret == secret:
                return self._shown(connection, before)
            until = int(self._clock().timestamp()) + FORMER_SECONDS
            details = replace(known, secret=secret, former=known.secret, former_until=until)
            content = _unstamped(before.content).model_copy(
                update={"details_hash": self._keep(connection, name, details)}
            )
            outcome = self._acts.perform(connection, REGISTRY, content, actor(), request.reason)
            shown = self._told(connection, outcome, content)
        shown.secret = secret
        return shown

    def TestWebhook(self, request: pb.TestWebhookRequest, context: grpc.ServicerContext) -> pb.TestWebhookResponse:
        with self._database.transaction() as connection:
            found = self._own(connection, only_id(request.name, "webhooks", "name"))
            details = webhooks.read_details(connection, self._vault, found.content)
            origin = read_people(connection).origin
            pool = log_of(connection, found.content.log, "name")
        if details is None or found.content.state == WebhookState.REMOVED:
            raise StateError(f"webhooks/{found.name}", "REMOVED", "was removed, or its address and secret were erased")
        with self._tests.passed(caller().name):
            answer = self._deliverer.test(origin, pool, found.content, details)
        return pb.TestWebhookResponse(status=answer.status or 0, problem=answer.problem)

    def GetWebhook(self, request: pb.GetWebhookRequest, context: grpc.ServicerContext) -> pb.Webhook:
        with self._database.transaction() as connection:
            found = webhooks.get_webhook(connection, only_id(request.name, "webhooks", "name"))
            if not sees_all(caller()):
                _require_own(found)
            return self._shown(connection, found)

    def ListWebhooks(self, request: pb.ListWebhooksRequest, context: grpc.ServicerContext) -> pb.ListWebhooksResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, "")
        owner = None if sees_all(caller()) else caller().name
        with self._database.transaction() as connection:
            found = webhooks.list_webhooks(connection, after=after, limit=limit, owner=owner)
            shown = {each.name: self._shown(connection, each) for each in found}
        listed, token = page_of(found, limit, lambda each: shown[each.name], lambda each: (each.name,))
        return pb.ListWebhooksResponse(webhooks=listed, next_page_token=token)

    def _keep(self, connection: sa.Connection, name: str, details: WebhookDetails) -> str:
        return webhooks.put_details(connection, self._vault, name, details, read_time(connection))

    @staticmethod
    def _own(connection: sa.Connection, name: str) -> webhooks.Webhook:
        """A webhook that the caller may change."""
        found = webhooks.get_webhook(connection, name)
        _require_own(found)
        return found

    def _told(self, connection: sa.Connection, outcome: Outcome, asked: WebhookContent, url: str = "") -> pb.Webhook:
        """What an act did, or what was asked where it waits."""
        return told(outcome, lambda done: self._shown(connection, done), convert.proposed_webhook_to_proto(asked, url))

    def _shown(self, connection: sa.Connection, webhook: webhooks.Webhook) -> pb.Webhook:
        """A webhook with its address, for those who may change it, and how far it was sent its log."""
        url = self._url(connection, webhook)
        deliveries = list_deliveries(connection, [webhook.name])
        size = log.read_head(connection, log_of(connection, webhook.content.log, "log")).size
        return convert.webhook_to_proto(webhook, url, deliveries[0] if deliveries else None, size)

    def _url(self, connection: sa.Connection, webhook: webhooks.Webhook) -> str:
        if caller().role is Role.AUDITOR:
            return ""
        try:
            details = webhooks.read_details(connection, self._vault, webhook.content)
        except (StateError, LedgerCorruptError):  # without its key a webhook can still be seen and removed
            return ""
        return details.url if details else ""


def _state(before: webhooks.Webhook | None) -> WebhookState:
    """The state of a webhook that is created: its own where it is there already."""
    return WebhookState(before.content.state) if before else WebhookState.ACTIVE


def _owner_of(name: str) -> Principal:
    """Whose a webhook is to be: the caller's, unless an operator says otherwise."""
    owner = Principal.parse(name) if name else caller()
    if owner != caller() and caller().role is not Role.OPERATOR:
        raise PermissionDeniedError(caller(), owner.name)
    return owner


def _require_own(webhook: webhooks.Webhook) -> None:
    """Check that a webhook is the caller's, or the caller an operator."""
    if caller().role is not Role.OPERATOR and webhook.content.owner != caller().name:
        raise PermissionDeniedError(caller(), f"webhooks/{webhook.name}")


def _require_repeatable(webhook: webhooks.Webhook) -> None:
    """Check that the caller may register a webhook again that is there: its id is taken for ever, even once removed."""
    if caller().role is not Role.OPERATOR and webhook.content.owner != caller().name:
        raise AlreadyExistsError(f"webhooks/{webhook.name}")
    webhooks.require_not_removed(webhook)


def _types(asked: pb.Webhook, pool: PoolRef) -> list[str]:
    known = REGISTRY_CONTENTS if pool == REGISTRY else CONTENTS
    unknown = next((each for each in asked.types if each not in known), None)
    if unknown is not None:
        kinds = ", ".join(sorted(known))
        raise InvalidInputError.of(
            "webhook.types",
            "must be types of the log's entries (%(kinds)s), got %(got)r",
            kinds=kinds,
            got=unknown[:60],
        )
    return sorted(set(asked.types))


def _start(connection: sa.Connection, asked: pb.Webhook, pool: PoolRef, before: webhooks.Webhook | None) -> int:
    """The first leaf that is to be sent: as asked, or as it was, or the next one that comes."""
    size = log.read_head(connection, pool).size
    if asked.HasField("start"):
        return require_range(asked.start, "webhook.start", 0, size)
    return size if before is None else before.content.start


def _unstamped(content: WebhookContent) -> WebhookContent:
    """The content without who did it."""
    return WebhookContent.model_validate(content.said())
