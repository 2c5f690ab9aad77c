"""`moiety demo`: the main job, end to end, on real input."""

from __future__ import annotations

from typing import Annotated

import typer

from moiety import MoietyError
from services.cli.base.exits import Exit, InputError
from services.cli.base.local import local_command
from services.cli.base.output import Output, report


@local_command
def demo(
    output: Output,
    works: Annotated[
        int, typer.Option(metavar="N", min=10, max=20_000, help="How many melodies the model generates.")
    ] = 4_000,
    every: Annotated[bool, typer.Option("--all", help="List all traditions.")] = False,
    stay: Annotated[bool, typer.Option("--stay", help="Keep the service up at the end, with its console.")] = False,
) -> None:
    """Run the whole service on real input: usage in, rounds out, replayed. Leaves nothing behind.

    A model learns the folk melodies that music21 ships and makes new ones; two platforms report three months of use.

    The scheduler cuts a round each month, an operator approves it, an auditor replays it. Exits with status 1 if
    any figure does not hold.
    """
    from demo.corpus import CorpusMissingError
    from demo.months import RoundMissingError
    from demo.run import run
    from demo.screen import Screen

    try:
        outcome, instability = run(Screen(quiet=output.as_json), works=works, every=every, stay=stay)
    except CorpusMissingError as error:
        raise typer.Exit(report(InputError.of("demo", str(error)), as_json=output.as_json)) from None
    except (MoietyError, RoundMissingError) as error:
        raise typer.Exit(report(error, as_json=output.as_json)) from None
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None
    if output.as_json:
        output.show(outcome.document(instability))
    if outcome.breaches():
        raise typer.Exit(Exit.DOES_NOT_HOLD)
