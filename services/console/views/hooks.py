"""Webhooks: how far each was sent its log, what it answered last, and forms to register, try and end one."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import Message
from starlette.responses import Response

from moiety.v1 import webhooks_pb2 as pb
from services.console.forms import REFUSED, acted, id_of, text_of
from services.console.views.pools import PAGE
from services.console.visit import Problem, Visit, go

_STATES: Final = {
    "pause": pb.WEBHOOK_STATE_PAUSED,
    "resume": pb.WEBHOOK_STATE_ACTIVE,
    "remove": pb.WEBHOOK_STATE_REMOVED,
}


def listed(visit: Visit, *, problem: Problem = "", made: Any = None) -> Response:
    """The webhooks that the visitor may see, and the secret of one that was `made` just now."""
    request = pb.ListWebhooksRequest(page_size=PAGE, page_token=visit.query.get("after", ""))
    answer = visit.call("WebhooksService/ListWebhooks", request)
    return visit.page(
        "webhooks.html", 409 if problem else 200, webhooks=answer.webhooks, more=answer.next_page_token,
        problem=problem, made=made,
    )  # fmt: skip


def _create(visit: Visit) -> tuple[str, Message]:
    log = text_of(visit, "log")
    webhook = pb.Webhook(
        owner=text_of(visit, "owner"),
        log=log if log == "registry" else f"pools/{id_of(visit, 'log', of='pools')}",
        url=text_of(visit, "url"),
        types=text_of(visit, "types").replace(",", " ").split(),
    )
    if "all" in visit.form:
        webhook.start = 0
    request = pb.CreateWebhookRequest(webhook_id=text_of(visit, "id"), webhook=webhook, reason=text_of(visit, "reason"))
    return "WebhooksService/CreateWebhook", request


def _rotate(visit: Visit) -> tuple[str, Message]:
    return "WebhooksService/RotateWebhookSecret", pb.RotateWebhookSecretRequest(name=text_of(visit, "name"))


_SECRET: Final = {"create": _create, "rotate": _rotate}
"""Acts whose answer has a secret: it is shown at once, since no other answer has it."""


def change(visit: Visit) -> Response:
    """Register a webhook, try it, replace its secret or change its state."""
    name = text_of(visit, "name")

    def state(wanted: str) -> Any:
        def made() -> tuple[str, Message]:
            return "WebhooksService/SetWebhookState", pb.SetWebhookStateRequest(name=name, state=_STATES[wanted])

        return made

    def again(problem: Problem) -> Response:
        return listed(visit, problem=problem)

    if making := _SECRET.get(visit.form.get("act", "")):
        try:
            made = visit.call(*making(visit))
        except REFUSED as error:
            return again(error)
        return listed(visit, made=made)
    if visit.form.get("act") == "test":
        try:
            answer = visit.call("WebhooksService/TestWebhook", pb.TestWebhookRequest(name=name))
        except REFUSED as error:
            return again(error)
        if answer.problem:
            status = visit.text("answered %(status)s") % {"status": answer.status}
            said = status if answer.status else visit.sentence(answer.problem)
            return again(f"{name.removeprefix('webhooks/')}: {said}")
        return go("/webhooks", done="saved")
    return acted(visit, {wanted: state(wanted) for wanted in _STATES}, "/webhooks", again)
