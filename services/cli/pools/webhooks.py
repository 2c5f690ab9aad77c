"""`moiety webhook`: where entries are sent."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from moiety.v1.webhooks_pb2 import Webhook, WebhookState
from services.cli.base.acts import outcome, show_act, waiting
from services.cli.base.connection import Session, client_command
from services.cli.base.documents import document, identity
from services.cli.base.exits import Exit
from services.cli.base.output import details, table

app = typer.Typer(help="Webhooks: addresses to which the entries of a log are sent.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="WEBHOOK", help="The webhook's id.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why.")]
Secret = Annotated[
    str, typer.Option(metavar="SECRET", help="The secret that signs: whsec_ and base64 (default: made here).")
]

_ONCE: Final = "The secret is shown only once. Whoever receives the events checks their signatures with it."


@app.command("create")
@client_command
def create(  # noqa: PLR0917  # a webhook has many parts, and each is an option
    session: Session,
    webhook: Name,
    log: Annotated[str, typer.Argument(metavar="LOG", help="What is sent: a pool's id, or registry.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="Where events are posted to.")],
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--type", metavar="TYPE", help="A type of entries, such as posting.v1; repeatable (default: all)."
        ),
    ] = None,
    start: Annotated[
        int | None, typer.Option(metavar="LEAF", help="The first leaf that is sent (default: only new ones).")
    ] = None,
    owner: Annotated[
        str, typer.Option(metavar="PRINCIPAL", help="Who may see what is sent: platforms/acme (default: you).")
    ] = "",
    secret: Secret = "",
    reason: Reason = "",
) -> None:
    """Send each entry of a log that its owner may see to an address: signed, in order, until it is taken."""
    name = log if log == "registry" else f"pools/{identity(log)}"
    made = session.client.create_webhook(
        webhook, name, url, types=kind or (), start=start, owner=owner, secret=secret, reason=reason
    )
    _show_secret(session, made)


@app.command("rotate")
@client_command
def rotate(session: Session, webhook: Name, secret: Secret = "", reason: Reason = "") -> None:
    """Replace a webhook's secret. For a day, the old one signs too."""
    _show_secret(session, session.client.rotate_webhook_secret(webhook, secret=secret, reason=reason))


def _show_secret(session: Session, made: Webhook) -> None:
    shown = [("webhook", identity(made.name)), ("origin", made.origin), ("secret", made.secret)]
    session.output.show(outcome(made), details(shown), *waiting(made), _ONCE)


@app.command("pause")
@client_command
def pause(session: Session, webhook: Name, reason: Reason = "") -> None:
    """Send a webhook nothing until it is resumed."""
    paused = session.client.pause_webhook(webhook, reason=reason)
    show_act(session.output, paused, f"{webhook} is paused at leaf {_next(paused)}")


@app.command("resume")
@client_command
def resume(session: Session, webhook: Name, reason: Reason = "") -> None:
    """Have a webhook go on where it was, at once, also where it failed or answered 410 Gone."""
    resumed = session.client.resume_webhook(webhook, reason=reason)
    show_act(session.output, resumed, f"{webhook} goes on at leaf {_next(resumed)}")


@app.command("remove")
@client_command
def remove(session: Session, webhook: Name, reason: Reason = "") -> None:
    """Remove a webhook, for ever."""
    removed = session.client.remove_webhook(webhook, reason=reason)
    show_act(session.output, removed, f"{webhook} is removed")


@app.command("test")
@client_command
def test(session: Session, webhook: Name) -> None:
    """Send a webhook an event that says nothing, once, and tell what it answers."""
    answer = session.client.test_webhook(webhook)
    said = f"{webhook} took it: {answer.status}" if not answer.problem else f"{webhook} took nothing: {answer.problem}"
    session.output.show(document(answer), said)
    if answer.problem:
        raise typer.Exit(Exit.DOES_NOT_HOLD)


@app.command("show")
@client_command
def show(session: Session, webhook: Name) -> None:
    """Show a webhook, and how far it was sent its log."""
    found = session.client.get_webhook(webhook)
    session.output.show(document(found), details(_rows(found)))


@app.command("list")
@client_command
def list_webhooks(session: Session) -> None:
    """List webhooks, and how far each was sent its log."""
    found = list(session.client.list_webhooks())
    lines = [
        (
            identity(each.name),
            each.owner,
            identity(each.log),
            each.origin,
            _state(each),
            f"{each.delivery.log_size - each.delivery.next_leaf:,}",
            _answer(each),
        )
        for each in found
    ]
    columns = ("webhook", "owner", "log", "origin", "state", "leaves behind", "last answer")
    session.output.show([document(each) for each in found], table(columns, lines))


def _rows(found: Webhook) -> list[tuple[str, str]]:
    sent = found.delivery
    rows = [
        ("owner", found.owner),
        ("log", found.log),
        ("address", found.url or found.origin),
        ("types", ", ".join(found.types) or "all"),
        ("state", _state(found)),
        ("next leaf", f"{sent.next_leaf} of {sent.log_size}"),
        ("events taken", f"{sent.event_count:,}"),
        ("last answer", _answer(found)),
    ]
    if sent.failure_count:
        rows += [
            ("failures", f"{sent.failure_count:,} since {sent.failing_since_time.ToDatetime():%Y-%m-%d %H:%M:%S} UTC"),
            ("next attempt", f"{sent.next_attempt_time.ToDatetime():%Y-%m-%d %H:%M:%S} UTC"),
        ]
    return rows


def _state(found: Webhook) -> str:
    if found.delivery.is_gone:
        return "gone"
    return WebhookState.Name(found.state).removeprefix("WEBHOOK_STATE_").lower()


def _answer(found: Webhook) -> str:
    sent = found.delivery
    return sent.last_problem or (str(sent.last_status) if sent.last_status else "-")


def _next(found: Webhook) -> int:
    return found.delivery.next_leaf
