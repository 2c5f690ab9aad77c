"""Webhooks: how far each was sent its log, what it answered last, and forms to try, pause, resume and remove one."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import Message
from starlette.responses import Response

from moiety.v1 import webhooks_pb2 as pb
from services.console.calls import said
from services.console.forms import REFUSED, acted, text_of
from services.console.views.pools import PAGE
from services.console.visit import Visit, go

_STATES: Final = {
    "pause": pb.WEBHOOK_STATE_PAUSED,
    "resume": pb.WEBHOOK_STATE_ACTIVE,
    "remove": pb.WEBHOOK_STATE_REMOVED,
}


def listed(visit: Visit, *, problem: str = "") -> Response:
    """The webhooks that the visitor may see."""
    request = pb.ListWebhooksRequest(page_size=PAGE, page_token=visit.query.get("after", ""))
    answer = visit.call("WebhooksService/ListWebhooks", request)
    return visit.page(
        "webhooks.html", 409 if problem else 200, webhooks=answer.webhooks, more=answer.next_page_token,
        problem=problem,
    )  # fmt: skip


def change(visit: Visit) -> Response:
    """Try a webhook, or change its state."""
    name = text_of(visit, "name")

    def state(wanted: str) -> Any:
        def made() -> tuple[str, Message]:
            return "WebhooksService/SetWebhookState", pb.SetWebhookStateRequest(name=name, state=_STATES[wanted])

        return made

    def again(problem: str) -> Response:
        return listed(visit, problem=problem)

    if visit.form.get("act") == "test":
        try:
            answer = visit.call("WebhooksService/TestWebhook", pb.TestWebhookRequest(name=name))
        except REFUSED as error:
            return again(said(error, visit.request_id))
        if answer.problem:
            return again(f"{name.removeprefix('webhooks/')}: {answer.problem}")
        return go("/webhooks", done="saved")
    return acted(visit, {wanted: state(wanted) for wanted in _STATES}, "/webhooks", again)
