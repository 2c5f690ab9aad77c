"""`moiety round object`, `objections` and `answer`: what collectives say against a round before it is posted."""

from __future__ import annotations

from typing import Annotated

import typer

from moiety.v1 import rounds_pb2
from services.cli.base.connection import Session, client_command
from services.cli.base.documents import document, identity
from services.cli.base.exits import InputError
from services.cli.base.output import table

Pool = Annotated[str, typer.Argument(metavar="POOL", help="The pool's id.")]
Number = Annotated[int, typer.Argument(metavar="NUMBER", help="The round's number, 1 for the pool's first.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why, for operators and auditors to read.")]


@client_command
def object_(session: Session, pool: Pool, number: Number, reason: Reason) -> None:
    """Object to a calculated round as a collective, once, before its review is over."""
    found = session.client.object_to_round(pool, number, reason)
    session.output.show(document(found), f"Objected to round {number} of {pool}: it waits for an answer.")


@client_command
def objections(session: Session, pool: Pool, number: Number) -> None:
    """List the objections to a round, and what was answered. A collective sees its own."""
    found = [document(each) for each in session.client.list_objections(pool, number)]
    rows = [
        (
            identity(each["collective"]),
            each["answer"] or "OPEN",
            each["reason"],
            each["answered_by"],
            each["answer_reason"],
        )
        for each in found
    ]
    session.output.show(found, table(["Collective", "Answer", "Reason", "Answered by", "Because"], rows))


@client_command
def answer(
    session: Session,
    pool: Pool,
    number: Number,
    collective: Annotated[str, typer.Argument(metavar="COLLECTIVE", help="The id of who objected.")],
    reason: Reason,
    dismiss: Annotated[bool, typer.Option("--dismiss", help="The round goes on as it is.")] = False,
    uphold: Annotated[bool, typer.Option("--uphold", help="The round is rejected.")] = False,
    set_aside: Annotated[
        bool, typer.Option("--set-aside", help="The round goes on, and holds the collective's amount as disputed.")
    ] = False,
) -> None:
    """Answer an objection, as an operator who did not calculate the round."""
    if dismiss + uphold + set_aside != 1:
        raise InputError.of("answer", "needs one of --dismiss, --uphold and --set-aside")
    wanted = "DISMISSED" if dismiss else "UPHELD" if uphold else "SET_ASIDE"
    value = rounds_pb2.ObjectionAnswer.Value(f"OBJECTION_ANSWER_{wanted}")
    found = session.client.answer_objection(pool, number, collective, value, reason)
    after = "the round is rejected" if uphold else "the round can be approved once its review is over"
    session.output.show(
        document(found), f"The objection of {collective} is {wanted.lower().replace('_', ' ')}: {after}."
    )
