"""`moiety proposal`: acts that wait for a second operator, and deciding them."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from moiety import Proposal
from moiety.v1 import acts_pb2
from services.cli.acts.changes import LastRounds, changes_of, last_rounds_under
from services.cli.base.connection import Session, client_command
from services.cli.base.documents import document
from services.cli.base.money import major
from services.cli.base.output import details, table

app = typer.Typer(help="Proposals: acts that wait for another operator.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="PROPOSAL", help="Its name, for example pools/folk/proposals/3.")]
Names = Annotated[list[str], typer.Argument(metavar="PROPOSAL...", help="Their names, in order.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="The reason, which everyone can read.")]


@app.command("list")
@client_command
def list_(
    session: Session,
    pool: Annotated[
        str | None,
        typer.Option(metavar="POOL", help="Only proposals about this pool (default: all pools and the registry)."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Include proposals that were decided or have lapsed.")] = False,
) -> None:
    """List proposals that wait for another operator, oldest first in each log."""
    logs = [pool] if pool else [None, *(each.name.removeprefix("pools/") for each in session.client.list_pools())]
    found = [each for log in logs for each in session.client.list_proposals(log, only_open=not every)]
    rows = [(each.name, _state(each), each.effect, each.proposed_by, each.reason) for each in found]
    session.output.show(
        [document(each) for each in found], table(["Proposal", "State", "Effect", "By", "Reason"], rows)
    )


@app.command("show")
@client_command
def show(session: Session, name: Name) -> None:
    """Show what a proposal would change, what the last round would have been under it, and what became of it.

    A policy, a method, a membership and a collective are compared with the last posted round of each pool in which
    they would have changed an amount. For a method's scores and for a membership the round's batches are read again,
    up to 64 MiB of them.
    """
    found = session.client.get_proposal(name)
    shown = document(found)
    waits = found.state == acts_pb2.PROPOSAL_STATE_OPEN
    changes = changes_of(session.client, found) if waits else []
    last = last_rounds_under(session.client, found) if waits else LastRounds()
    lines = [(key, json.dumps(value) if isinstance(value, dict) else value) for key, value in shown.items() if value]
    rows = [(each.field, _text(each.before, each.currency), _text(each.after, each.currency)) for each in changes]
    session.output.show(
        {
            **shown,
            "changes": [each.document() for each in changes],
            "last_rounds": [each.document() for each in last.compared],
            "not_compared": list(last.left_out),
        },
        details(lines),
        *([table(["Field", "Now", "Proposed"], rows)] if rows else []),
        *(part for each in last.compared for part in each.shown("As proposed")),
        *last.left_out,
    )


def _text(value: object, currency: str) -> str:
    if currency and value is not None:
        return major(int(str(value)), currency)
    return json.dumps(value) if isinstance(value, dict | list) else "" if value is None else str(value)


@app.command("approve")
@client_command
def approve(session: Session, names: Names) -> None:
    """Approve what another operator proposed, which carries it out."""
    found = []
    for name in names:
        found.append(session.client.approve_proposal(name))
        if not session.output.as_json:
            _decided(session, found[-1])
    if session.output.as_json:
        shown = [document(each) for each in found]
        session.output.show(shown[0] if len(shown) == 1 else shown)


@app.command("reject")
@client_command
def reject(session: Session, name: Name, reason: Reason) -> None:
    """Reject a proposal."""
    _decided(session, session.client.reject_proposal(name, reason))


@app.command("withdraw")
@client_command
def withdraw(session: Session, name: Name, reason: Reason) -> None:
    """Withdraw a proposal of yours."""
    _decided(session, session.client.withdraw_proposal(name, reason))


def _decided(session: Session, found: Proposal) -> None:
    session.output.show(document(found), f"proposal {found.name} is {_state(found)}")


def _state(found: Proposal) -> str:
    state: str = document(found)["state"]
    return state
