"""`moiety tariff`: what a pool's terms say that platforms owe, beside what they reported."""

from __future__ import annotations

from typing import Annotated

import typer

from ledger.money import decimal_text
from moiety import Due, Tariff
from services.cli.base.acts import show_act
from services.cli.base.connection import Session, client_command
from services.cli.base.documents import document, identity
from services.cli.base.money import major, minor_from
from services.cli.base.output import table

app = typer.Typer(
    help="Tariffs: what is due of platforms under a pool's terms. Nothing is collected by them.", no_args_is_help=True
)

Pool = Annotated[str, typer.Argument(metavar="POOL", help="The pool's id.")]


@app.command("set")
@client_command
def set_tariff(
    session: Session,
    pool: Pool,
    period_from: Annotated[
        str,
        typer.Argument(
            metavar="PERIOD", help="The first period, like 2026-03, 2026-Q1 or 2026. It holds for periods this long."
        ),
    ],
    platform: Annotated[
        str, typer.Option(metavar="ID", help="The platform (default: all that have no tariff of their own).")
    ] = "",
    share_ppm: Annotated[int, typer.Option(metavar="N", help="Millionths of the declared income: 20000 for 2 %.")] = 0,
    rate: Annotated[str, typer.Option(metavar="AMOUNT", help="In major units, for --rate-units of usage: 0.50.")] = "0",
    rate_units: Annotated[int, typer.Option(metavar="N", help="For how many units of usage the rate is.")] = 0,
    minimum: Annotated[str, typer.Option(metavar="AMOUNT", help="The least for a period, in major units: 100.")] = "0",
) -> None:
    """Set what is due for a period: the largest of a share of income, an amount for usage and a minimum."""
    currency = session.client.get_pool(pool).currency
    made = session.client.set_tariff(
        pool,
        period_from,
        platform=platform,
        share_ppm=share_ppm,
        rate_minor=minor_from(rate, currency, "rate"),
        rate_units=rate_units,
        minimum_minor=minor_from(minimum, currency, "minimum"),
    )
    whose = platform or "all platforms without their own"
    said = f"Tariff {made.version} of {whose} in {pool} holds from {made.period_from}, leaf {made.leaf_index}."
    show_act(session.output, made, said)


@app.command("show")
@client_command
def show(session: Session, pool: Pool) -> None:
    """List a pool's tariffs, replaced ones too. A platform sees its own and those of all."""
    currency = session.client.get_pool(pool).currency
    found = list(session.client.list_tariffs(pool))
    rows = [_tariff_row(each, currency) for each in found]
    columns = ("platform", "version", "from", "share", "usage", "minimum", "leaf")
    right = ("version", "share", "minimum", "leaf")
    session.output.show([document(each) for each in found], table(columns, rows, right=right))


@app.command("due")
@client_command
def due(
    session: Session,
    pool: Pool,
    period: Annotated[str, typer.Argument(metavar="PERIOD", help="Like 2026-03, 2026-Q1 or 2026.")],
) -> None:
    """Show what is due for a period and what was reported. A platform sees itself."""
    found = list(session.client.list_dues(pool, period))
    columns = ("platform", "units", "income", "by share", "by usage", "minimum", "due", "reported", "difference")
    rows = [_due_row(each) for each in found]
    session.output.show([document(each) for each in found], table(columns, rows, right=columns[1:]))


def _tariff_row(each: Tariff, currency: str) -> tuple[object, ...]:
    usage = f"{major(each.rate_minor, currency)} for {each.rate_units:,} units" if each.rate_minor else "-"
    return (
        identity(each.platform) or "(all others)",
        each.version,
        each.period_from,
        f"{decimal_text(each.share_ppm, 4).rstrip('0').rstrip('.')} %",
        usage,
        major(each.minimum_minor, currency),
        each.leaf_index,
    )


def _due_row(each: Due) -> tuple[object, ...]:
    amounts = {
        name: "-" if value is None else major(value, each.currency)
        for name, value in document(each).items()
        if name.endswith("_minor")
    }
    parts = ("income", "share", "usage", "minimum", "due", "reported", "difference")
    return (identity(each.platform), f"{each.units:,}", *(amounts[f"{name}_minor"] for name in parts))
