"""`moiety limits`: which times pools accept, and how much platforms may send."""

from __future__ import annotations

from typing import Annotated

import typer

from moiety.v1.limits_pb2 import PlatformLimits, PoolLimits
from services.cli.base.connection import Session, client_command
from services.cli.base.documents import document
from services.cli.base.output import details

app = typer.Typer(
    help="Limits on usage: which times pools accept, and how much platforms may send.", no_args_is_help=True
)

Pool = Annotated[str, typer.Argument(metavar="POOL", help="The pool's id.")]
Platform = Annotated[str, typer.Argument(metavar="PLATFORM", help="The platform's id.")]


@app.command("pool")
@client_command
def pool_limits(
    session: Session,
    pool: Pool,
    lead_seconds_max: Annotated[
        int | None, typer.Option(metavar="N", help="How many seconds an event may be ahead of its acceptance.")
    ] = None,
    age_seconds_max: Annotated[
        int | None, typer.Option(metavar="N", help="How many seconds an event may be older than its acceptance.")
    ] = None,
) -> None:
    """Show which times a pool accepts; with an option, change that and keep the rest."""
    limits = session.client.get_pool_limits(pool)
    if lead_seconds_max is not None or age_seconds_max is not None:
        limits = session.client.update_pool_limits(
            pool,
            PoolLimits(
                lead_seconds_max=limits.lead_seconds_max if lead_seconds_max is None else lead_seconds_max,
                age_seconds_max=limits.age_seconds_max if age_seconds_max is None else age_seconds_max,
            ),
        )
    shown = [(name, getattr(limits, name)) for name in ("lead_seconds_max", "age_seconds_max")]
    session.output.show(document(limits), details((name, f"{value:,}") for name, value in shown))


@app.command("platform")
@client_command
def platform_limits(
    session: Session,
    platform: Platform,
    events_per_day: Annotated[
        int | None, typer.Option(metavar="N", help="Events a day (UTC); -1 means no limit.")
    ] = None,
    bytes_per_day: Annotated[
        int | None, typer.Option(metavar="N", help="Bytes of batches a day (UTC); -1 means no limit.")
    ] = None,
    open_streams: Annotated[
        int | None, typer.Option(metavar="N", help="Concurrent streams; -1 means the service's own limit.")
    ] = None,
) -> None:
    """Show how much a platform may send, and has sent today; with an option, change that and keep the rest."""
    asked = {"events_per_day": events_per_day, "bytes_per_day": bytes_per_day, "open_streams": open_streams}
    limits = session.client.get_platform_limits(platform)
    kept = _set(limits)
    if any(value is not None for value in asked.values()):
        new = PlatformLimits()
        for name, value in asked.items():
            chosen = kept.get(name) if value is None else None if value < 0 else value
            if chosen is not None:
                setattr(new, name, chosen)
        limits = session.client.update_platform_limits(platform, new)
    in_force = _set(limits)
    shown = [(name, f"{in_force[name]:,}" if name in in_force else "no limit") for name in asked]
    today = [("events today", f"{limits.events_today:,}"), ("bytes today", f"{limits.bytes_today:,}")]
    session.output.show(document(limits), details([*shown, *today]))


def _set(limits: PlatformLimits) -> dict[str, int]:
    """The limits that are set, by name."""
    return {field.name: value for field, value in limits.ListFields() if field.has_presence}
