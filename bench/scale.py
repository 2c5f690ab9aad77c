"""`python -m bench.scale`: brings docs/scale.md in line, its constants with the results, its arithmetic with them."""

from __future__ import annotations

import json
import re
from math import ceil
from pathlib import Path
from typing import Any, Final

RESULTS: Final = Path(__file__).parent / "results" / "latest.json"
PAGE: Final = Path(__file__).parent.parent / "docs" / "scale.md"
BEGIN, END = "<!-- arithmetic: begin -->\n", "<!-- arithmetic: end -->"
EVENTS_PER_DAY: Final = (10**9, 10**11)

SECONDS_PER_DAY, HOURS_PER_MONTH, DAYS_PER_YEAR = 86_400, 730, 365


def constants(page: str) -> dict[str, float]:
    """The numbers of the page's first table, by name."""
    return {
        name: float(value.replace(",", ""))
        for name, value in re.findall(r"^\| `(\w+)` \| ([\d.,]+) \|", page, re.MULTILINE)
    }


def measured(sections: dict[str, Any]) -> dict[str, float]:
    """The constants that the results have, by name; `sections` are those of bench/results/latest.json."""
    found_figures = [one for found in sections.values() for one in found["figures"]]
    figures = {one["name"]: one["ours"]["median"] for one in found_figures}
    peers = {one["name"]: one["peer"]["median"] for one in found_figures if one.get("peer")}
    ratios = {one["name"]: one["judged"]["median"] for one in found_figures if "judged" in one}
    lines = {
        (one["name"], name): [(point["x"], point["median"]) for point in points]
        for found in sections.values() for one in found["series"] for name, points in one["lines"].items()
    }  # fmt: skip
    values = {}
    if "storage" in figures:
        values["stored_bytes_per_event"] = figures["storage"]
    if {"storage", "storage-elsewhere"} <= figures.keys():
        # Measured with random ids, whose rows take more; what a body takes is the same.
        body_bytes = peers["storage-elsewhere"] - figures["storage-elsewhere"]
        values["postgres_bytes_per_event"] = figures["storage"] - body_bytes
    if "intake-partitions" in ratios:
        values["partitioned_share"] = ratios["intake-partitions"]
    if "intake-elsewhere" in ratios:
        values["elsewhere_share"] = ratios["intake-elsewhere"]
    if "verify" in figures:
        values["verified_shares_per_second"] = figures["verify"]
    if "growth-intake" in sections:
        values["event_id_bytes"] = sum(
            lines["growth-event-bytes", f"UUIDv7, {part}"][-1][1] for part in ("rows", "index")
        )
    if "growth-rounds" in sections:
        (few, quick), *_, (many, slow) = lines["growth-round-batches", "preview"]
        values["round_seconds_per_batch"] = (slow - quick) / (many - few)
        count, seconds = lines["growth-round-collectives", "preview"][-1]
        values["round_seconds_per_collective"] = seconds / count
    if "growth-streams" in sections:
        best = {
            name: max(rate for _, rate in points)
            for (series, name), points in lines.items()
            if series == "growth-streams"
        }
        values["events_per_second_of_a_pool"] = max(rate for name, rate in best.items() if name.endswith("one pool"))
        values["events_per_second_per_core"] = max(best.values()) / sections["growth-streams"]["machine"]["processors"]
    return values


def worked_out(c: dict[str, float], events: int) -> list[tuple[str, str, float]]:
    """What so many events a day take: each line, how it is worked out, and its value."""
    peak = events / SECONDS_PER_DAY * c["peak_factor"]
    batches = events / c["events_per_batch"]
    stored_per_day = events * c["stored_bytes_per_event"] * c["copies"]
    stored = stored_per_day * DAYS_PER_YEAR
    processors = ceil(peak / c["events_per_second_per_core"] / c["busy_share"])
    disk = c["node_disk_bytes"] * c["full_share"]
    nodes = max(ceil(stored / disk), ceil(processors / c["node_processors"]))
    pools = ceil(peak / c["events_per_second_of_a_pool"])
    rent = nodes * c["node_processors"] * HOURS_PER_MONTH * c["price_of_processor_hour"]
    space = stored / 10**9 * c["price_of_gigabyte_month"]
    return [
        ("events/s at the peak", "events / 86,400 * `peak_factor`", peak),
        ("processors busy with intake", "peak / `events_per_second_per_core` / `busy_share`", processors),
        ("the same, tables in partitions", "processors / `partitioned_share`",
         ceil(processors / c["partitioned_share"])),
        ("the same, bodies elsewhere", "processors / `elsewhere_share`", ceil(processors / c["elsewhere_share"])),
        ("the same on Citus, by the coordinator", "processors / `citus_share`", ceil(processors / c["citus_share"])),
        ("TB a day, all copies", "events * `stored_bytes_per_event` * `copies`", stored_per_day / 10**12),
        ("TB after a year", "that * 365", stored / 10**12),
        ("of which ids of events, TB", "events * `event_id_bytes` * `copies` * 365",
         events * c["event_id_bytes"] * c["copies"] * DAYS_PER_YEAR / 10**12),
        ("TB a day in Postgres with bodies elsewhere, all copies", "events * `postgres_bytes_per_event` * `copies`",
         events * c["postgres_bytes_per_event"] * c["copies"] / 10**12),
        ("days until one node is full", "`node_disk_bytes` * `full_share` / bytes a day", disk / stored_per_day),
        ("nodes after a year", "the larger of: by disk, by processors", nodes),
        ("pools, or one could not take its share of the peak", "peak / `events_per_second_of_a_pool`", pools),
        ("seconds to calculate a day's round of one of these",
         "batches / pools * `round_seconds_per_batch` + `collectives` * `round_seconds_per_collective`",
         batches / pools * c["round_seconds_per_batch"] + c["collectives"] * c["round_seconds_per_collective"]),
        ("hours to verify a day of all pools, on one machine",
         "events * `shares_per_event` / `verified_shares_per_second` / 3,600",
         events * c["shares_per_event"] / c["verified_shares_per_second"] / 3_600),
        ("processors, a month", "nodes * `node_processors` * 730 * `price_of_processor_hour`", rent),
        ("disks, a month, at the year's end", "GB after a year * `price_of_gigabyte_month`", space),
        ("both, for a million events", "sum / (events * 30) * 10^6", (rent + space) / (events * 30) * 10**6),
    ]  # fmt: skip


def table(page: str) -> str:
    """The arithmetic as a Markdown table: a column for each number of events a day."""
    found = constants(page)
    columns = [worked_out(found, events) for events in EVENTS_PER_DAY]
    lines = [
        f"| | how | {' | '.join(f'10^{len(str(events)) - 1} events a day' for events in EVENTS_PER_DAY)} |",
        f"| --- | --- |{' ---: |' * len(columns)}",
    ]
    for rows in zip(*columns, strict=True):
        name, how, _ = rows[0]
        lines.append(f"| {name} | {how} | {' | '.join(_number(value) for _, _, value in rows)} |")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def brought_in_line(page: str, sections: dict[str, Any]) -> str:
    """The page with the constants that were measured, to three digits, and the table that all of them give."""
    for name, value in measured(sections).items():
        rounded = float(f"{value:.3g}")
        shown = f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:.9f}".rstrip("0").rstrip(".")
        page = re.sub(rf"^\| `{name}` \| [\d.,]+ \|", f"| `{name}` | {shown} |", page, flags=re.MULTILINE)
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}{table(page)}{END}{rest.partition(END)[2]}"


def write(sections: dict[str, Any]) -> None:
    """Bring the page in line."""
    PAGE.write_text(brought_in_line(PAGE.read_text(), sections))


def latest() -> dict[str, Any]:
    """The sections of the results that are kept; none where nothing is."""
    return dict(json.loads(RESULTS.read_text())["parts"]) if RESULTS.exists() else {}


if __name__ == "__main__":
    write(latest())
