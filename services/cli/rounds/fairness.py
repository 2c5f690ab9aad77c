"""How evenly a round paid: as tables, and as pictures drawn from its statement."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Final

from ledger.money import minor_unit_exponent
from ledger.registry import PPM
from moiety import Client
from moiety.v1 import rounds_pb2 as pb
from payout.fairness import fairness_report
from payout.statement import parse_statement
from services.cli.base.documents import identity
from services.cli.base.output import details, table, write_file
from services.cli.rounds.pictures import flow_svg, lorenz_svg

_MEASURES: Final = (
    ("Gini", "gini_ppm"),
    ("best paid 1 %", "top_percent_ppm"),
    ("Herfindahl", "herfindahl_ppm"),
    ("Jain", "jain_ppm"),
)


def fairness_tables(found: pb.Fairness) -> tuple[object, ...]:
    """The report for people."""
    shares = details(
        [
            ("fee of the pot", percent(found.fee_ppm) if found.HasField("fee_ppm") else None),
            ("commons of the pot", percent(found.commons_ppm) if found.HasField("commons_ppm") else None),
            ("usage", _by_mode(found.usage)),
            ("attributed money", _by_mode(found.attributed_minor)),
        ]
    )
    if not found.HasField("paid"):
        return "Nobody is paid.", shares
    both = (found.registered, found.paid)
    rows = [(label, *(percent(getattr(each, name)) for each in both)) for label, name in _MEASURES]
    curve = [
        (f"worst paid {tenths} in 10", *(percent(_lorenz_ppm(each, tenths)) for each in both))
        for tenths in range(1, 10)
    ]
    counts = (f"All {found.registered.collectives}", f"Paid {found.paid.collectives}")
    return table(["Measure", *counts], rows + curve, right=counts), shares


def percent(ppm: int) -> str:
    """Millionths as a percentage: 12.34 %."""
    return f"{ppm // 10_000}.{ppm % 10_000 // 100:02d} %"


def _lorenz_ppm(found: pb.Concentration, tenths: int) -> int:
    """Returns what so many tenths of the collectives get, worst paid first, read off the curve between its points."""
    tenth_parts = tenths * found.collectives
    before, after = next(
        (before, after) for before, after in pairwise(found.lorenz) if tenth_parts <= 10 * after.collectives
    )
    width = 10 * (after.collectives - before.collectives)
    rise = (after.amount_minor - before.amount_minor) * (tenth_parts - 10 * before.collectives)
    return (before.amount_minor * width + rise) * PPM // (width * found.amount_minor)


def _by_mode(found: pb.ByMode) -> str | None:
    if not found.HasField("human_ai_ppm"):
        return None
    return f"{percent(found.human_ai_ppm)} human and AI, {percent(PPM - found.human_ai_ppm)} AI only"


def draw(client: Client, pool: str, number: int, *, lorenz: Path | None, flow: Path | None) -> list[Path]:
    """Write the pictures that are asked for, and return their paths. The caller must be allowed to read statements."""
    found = client.get_round(pool, number)
    lines = parse_statement(client.get_statement(pool, number))
    pictures: dict[str, tuple[Path, str]] = {}
    if lorenz:
        policy = found.policy
        report = fairness_report(found, lines, ai_only_ppm=policy.ai_only_ppm, human_ai_ppm=policy.human_ai_ppm)
        pictures["lorenz"] = lorenz, lorenz_svg(report, subtitle=f"{pool}, round {number}")
    if flow:
        names = {identity(each.name): each.display_name for each in client.list_collectives()}
        exponent = minor_unit_exponent(found.currency)
        pictures["flow"] = flow, flow_svg(found, lines, currency=found.currency, exponent=exponent, names=names)
    for option, (path, picture) in pictures.items():
        write_file(path, picture.encode(), option)
    return [path for path, _ in pictures.values()]
