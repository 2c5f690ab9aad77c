"""`moiety round`: who gets what, who approved it, and whether it replays."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final

import typer

from moiety import Round, uuid7
from moiety.v1 import audit_pb2, registry_pb2, rounds_pb2
from services.cli.apply.declaration import read_policy
from services.cli.base.connection import Session, client_command
from services.cli.base.documents import document, identity, message_of
from services.cli.base.exits import Exit, InputError
from services.cli.base.money import major
from services.cli.base.output import details, table, write_bytes
from services.cli.rounds.comparison import compare
from services.cli.rounds.explanation import counted_units, explain, policy_terms, statement_lines, statement_table
from services.cli.rounds.fairness import draw, fairness_tables
from services.cli.rounds.objections import answer, object_, objections

app = typer.Typer(help="Rounds: who gets what, and who approved it.", no_args_is_help=True)

Pool = Annotated[str, typer.Argument(metavar="POOL", help="The pool's id.")]
Number = Annotated[int, typer.Argument(metavar="NUMBER", help="The round's number, starting with 1.")]

_TOTALS: Final = (
    ("pot", "pot_minor"),
    ("fee", "fee_minor"),
    ("allocated", "allocated_minor"),
    ("  attributed", "attributed_minor"),
    ("  commons", "commons_minor"),
    ("kept in the commons", "commons_kept_minor"),
    ("carried over", "carried_minor"),
    ("fractions carried", "rounding_minor"),
)


_SKIPPED: Final = {
    registry_pb2.SKIP_REASON_NO_MONEY: "no revenue to distribute; usage waits for it",
    registry_pb2.SKIP_REASON_NO_USAGE: "no usage that the policy counts; revenue waits for it",
    registry_pb2.SKIP_REASON_NOT_PLACED: "the policy lets nobody take any of the pot; usage and revenue wait",
    registry_pb2.SKIP_REASON_PERIOD_RUNS: "the next period is not over",
    registry_pb2.SKIP_REASON_REPORTS_MISSING: "reports of the next period are missing or not received, and not waived",
}


@app.command("preview")
@client_command
def preview(
    session: Session,
    pool: Pool,
    policy: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", help="Another policy, to compare with what past rounds paid."),
    ] = None,
    last: Annotated[int, typer.Option(metavar="N", min=1, help="How many past rounds, with --policy.")] = 3,
) -> None:
    """Show the round that a calculation would make now, or past rounds under another policy. Nothing is recorded."""
    if policy is None:
        found = session.client.preview_round(pool)
        lines = statement_lines(found.statement)
        session.output.show(
            {"round": document(found.round), "lines": lines},
            _round(found.round),
            statement_table(lines, found.round.currency),
        )
        return
    other = message_of(registry_pb2.Policy, dict(read_policy(policy)))
    posted = [each for each in session.client.list_rounds(pool) if each.state == rounds_pb2.ROUND_STATE_POSTED]
    compared = [compare(session.client, pool, each, policy=other) for each in posted[-last:]]
    session.output.show([each.document() for each in compared], *(part for each in compared for part in each.shown()))


@app.command("calculate")
@client_command
def calculate(
    session: Session,
    pool: Pool,
    request_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Your own id for the request; a repeat returns the same round.")
    ] = None,
) -> None:
    """Calculate the pool's next round over everything logged since the last posted one."""
    found = session.client.calculate_round(pool, request_id=request_id or str(uuid7()))
    session.output.show(document(found), _round(found))


@app.command("due")
@client_command
def due(session: Session, pool: Pool) -> None:
    """Show when the pool's next round is due, and why the last fire time that cut none did not."""
    found = session.client.get_schedule(pool)
    shown = document(found)
    rows = [
        ("cron", found.cron),
        ("time zone", found.time_zone),
        ("next fire time", "paused" if found.paused else shown["next_fire_time"]),
    ]
    if found.HasField("skip_time"):
        rows.append(("no round at", f"{shown['skip_time']}: {_SKIPPED[found.skip_reason]}"))
    session.output.show(shown, details(rows))


@app.command("approve")
@client_command
def approve(session: Session, pool: Pool, number: Number) -> None:
    """Approve a calculated round and post it, once its review is over and every objection is answered."""
    found = session.client.approve_round(pool, number)
    session.output.show(document(found), _round(found))


@app.command("reject")
@client_command
def reject(
    session: Session, pool: Pool, number: Number, reason: Annotated[str, typer.Option(metavar="TEXT", help="Why.")]
) -> None:
    """Reject a calculated round. The next calculation starts again where the last posted round ended."""
    found = session.client.reject_round(pool, number, reason)
    session.output.show(document(found), _round(found))


app.command("object")(object_)
app.command("objections")(objections)
app.command("answer")(answer)


@app.command("list")
@client_command
def list_(session: Session, pool: Pool) -> None:
    """List a pool's rounds, oldest first."""
    rounds = [document(item) for item in session.client.list_rounds(pool)]
    money = ("pot_minor", "fee_minor", "allocated_minor", "carried_minor", "rounding_minor")
    rows = [
        (
            item["number"],
            item["state"],
            f"[{item['start']}, {item['end']})",
            item["event_count"],
            *(major(item[name], item["currency"]) for name in money),
            item["calculate_time"],
        )
        for item in rounds
    ]
    numbers = ["Events", "Pot", "Fee", "Allocated", "Carried", "Rounding"]
    columns = ["Round", "State", "Log", *numbers, "Calculated"]
    session.output.show(rounds, table(columns, rows, right=["Round", *numbers]))


@app.command("show")
@client_command
def show(session: Session, pool: Pool, number: Number) -> None:
    """Show a round and its allocations. A collective sees its own."""
    found = session.client.get_round(pool, number)
    allocations = [document(item) for item in session.client.list_allocations(pool, number)]
    money = ("attributed_minor", "commons_minor", "amount_minor")
    rows = [
        (
            identity(item["collective"]),
            counted_units(item["weight"]),
            *(major(item[name], found.currency) for name in money),
        )
        for item in allocations
    ]
    numbers = ["Units", "Attributed", "Commons", "Amount"]
    session.output.show(
        {"round": document(found), "allocations": allocations},
        _round(found),
        table(["Collective", *numbers], rows, right=numbers),
    )


@app.command("statement")
@client_command
def statement(
    session: Session,
    pool: Pool,
    number: Number,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the canonical CSV, byte for byte as logged.")] = False,
    weights: Annotated[
        bool, typer.Option("--weights", help="Where the weights come from: by collective, method version and mode.")
    ] = False,
    collective: Annotated[
        str | None, typer.Option(metavar="ID", help="Only this collective, with everything its amount follows from.")
    ] = None,
) -> None:
    """Show a round's statement, one line per collective with the reasons for its amount. A collective sees its own."""
    if as_csv and session.output.as_json:
        raise InputError.of("csv", "cannot be combined with --json")
    part = rounds_pb2.STATEMENT_PART_WEIGHTS if weights else rounds_pb2.STATEMENT_PART_LINES
    if collective and not (as_csv or weights):
        found = session.client.get_round(pool, number)
        why, shown = explain(session.client, pool, found, collective)
        session.output.show({"round": found.name, **why}, *shown)
        return
    content = session.client.get_statement(pool, number, part=part, collective=collective)
    if as_csv:
        write_bytes(content)
        return
    found = session.client.get_round(pool, number)
    lines = statement_lines(content)
    session.output.show(
        {"round": found.name, "sha256": sha256(content).hexdigest(), "lines": lines},
        statement_table(lines, found.currency),
        policy_terms(found),
    )


@app.command("fairness")
@client_command
def fairness(
    session: Session,
    pool: Pool,
    number: Number,
    lorenz: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Draw the Lorenz curve.")] = None,
    flow: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Draw the flow from pot to payees.")] = None,
) -> None:
    """Show how evenly a round's money is spread, and draw it."""
    found = session.client.get_fairness(pool, number)
    drawn = draw(session.client, pool, number, lorenz=lorenz, flow=flow) if lorenz or flow else []
    session.output.show(
        {"fairness": document(found), "drawn": [str(path) for path in drawn]},
        *fairness_tables(found),
        *(f"Drew {path}." for path in drawn),
    )


@app.command("replay")
@client_command
def replay(session: Session, pool: Pool, number: Number) -> None:
    """Have a round recomputed from the log alone. Prints MATCH, or where it diverged and exits with status
    1.
    """
    with session.output.progress(f"round {number}", None, "leaves") as bar:
        verdict = session.client.replay_round(pool, number, progress=lambda step: bar.set(step.leaves, step.leaf_total))
    found = document(verdict)
    matched = verdict.outcome == audit_pb2.REPLAY_OUTCOME_MATCH
    counts = f"{verdict.leaves} leaves, {verdict.events} events, {verdict.shares} shares"
    if matched:
        session.output.show(found, f"MATCH: {counts}")
        return
    diverged = verdict.outcome == audit_pb2.REPLAY_OUTCOME_DIVERGED
    names = ("leaf_index", "line", "figure", "expected", "claimed") if diverged else ()
    ended = "DIVERGED" if diverged else "NO VERDICT"
    session.output.show(found, f"{ended}: {counts}", details([(name, found[name]) for name in names]))
    raise typer.Exit(Exit.DOES_NOT_HOLD if diverged else Exit.FAULT)


def _late(found: Round) -> list[tuple[str, object]]:
    """What of a period's round is late, and whose reports it did not wait for."""
    if not found.period:
        return []
    waived = ", ".join(str(identity(name)) for name in found.waived_platforms)
    return [
        ("  late", found.late_event_count),
        ("  late, retracted", found.late_retracted_count),
        ("pot, late", major(found.late_minor, found.currency)),
        ("waived", waived or None),
    ]


def _round(found: Round) -> object:
    item = document(found)
    fired = item["fire_times"] or {}
    return details(
        [
            ("round", found.number or "preview"),
            ("state", item["state"]),
            ("log", f"[{found.start}, {found.end})"),
            ("period", found.period or None),
            ("events", found.event_count),
            *_late(found),
            *((label, major(item[name], found.currency)) for label, name in _TOTALS),
            ("policy", f"version {found.policy.version}"),
            ("answers", f"{fired['count']} fire times, the last at {fired['last']}" if fired else None),
            ("calculated by", item["calculated_by"]),
            ("calculated", item["calculate_time"]),
            ("review ends", item["review_end_time"]),
            ("decided by", item["decided_by"]),
            ("decided", item["decide_time"]),
            ("reason", item["reason"]),
            ("posted", item["post_time"]),
            ("leaf", found.leaf_index or None),
            ("statement", item["statement_sha256"]),
        ]
    )
