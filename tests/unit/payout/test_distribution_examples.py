"""The worked examples of docs/distribution.md: every figure in them follows from the input that stands above it."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from itertools import count, pairwise
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from ledger.acts.entries import Decision
from ledger.journal import REVENUE, fold
from ledger.registry import Collective, CollectiveStatus
from ledger.usage.format import AI_ONLY, HUMAN_AI
from payout.amounts import NOTHING_CARRIED
from payout.apportionment import apportion
from payout.entries import RoundContent, posting_transfers
from payout.policy import Policy
from payout.rounds import Deficits, Distribution, distribute
from payout.statement import carried_of, deficits_of, parse_statement
from payout.weights import UsageKey, UsageSum
from tests.support.batches import Event, event_id
from tests.support.pool_log import PoolLog
from tests.support.rounds import round_content_of

PAGE: Final = Path(__file__).parents[3] / "docs" / "distribution.md"
NANO: Final = 10**9
UNIT: Final = NANO * 10**12
"""The weight of one unit: its billionths, times the millionths of a mode and of a confidence."""

MODES: Final = {"AI_ONLY": AI_ONLY, "HUMAN_AI": HUMAN_AI}
WEIGHTS: Final = {"weight", "weight_unattributed", "deficit_before", "deficit_after"}
FUND: Final = "The constraints of a real fund"
ADJUSTED: Final = "A round that was wrong"
HUNDRED: Final = "A hundred small pots"
STEPS: Final = ("Months that close", "Money that goes back")
"""Those that are a history."""

Row = dict[str, str]


@dataclass(frozen=True)
class Example:
    """A heading of the section, the input under it, and the rows of its tables by column."""

    title: str
    given: Mapping[str, Any]
    tables: tuple[tuple[Row, ...], ...]


def examples_in(page: str) -> list[Example]:
    (section,) = re.findall(r"^## Worked examples\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    found = []
    for part in re.split(r"^### ", section, flags=re.MULTILINE)[1:]:
        (given,) = re.findall(r"^```yaml\n(.*?)^```$", part, re.DOTALL | re.MULTILINE)
        tables = re.findall(r"(?:^\|.*\|\n)+", part, re.MULTILINE)
        found.append(Example(part.splitlines()[0], yaml.safe_load(given), tuple(tuple(rows_of(t)) for t in tables)))
    return found


def rows_of(table: str) -> Iterator[Row]:
    header, _, *rows = ([cell.strip(" `") for cell in line.strip("|").split("|")] for line in table.splitlines())
    for row in rows:
        yield dict(zip(header, row, strict=True))


def number(cell: str) -> Fraction:
    return Fraction(cell.replace(",", ""))


EXAMPLES: Final = examples_in(PAGE.read_text("utf-8"))
ROUNDS: Final = [example for example in EXAMPLES if example.title not in (ADJUSTED, FUND, HUNDRED, *STEPS)]


def usage_of(used: list[dict[str, Any]], retracted: list[dict[str, Any]]) -> dict[UsageKey, UsageSum]:
    """One event a line, those retracted with the sign turned."""
    found: dict[UsageKey, UsageSum] = {}
    for sign, line in [*((1, line) for line in used), *((-1, line) for line in retracted)]:
        assert line.keys() == {"method", "mode", "units", "shares"}
        units, shares = line["units"], line["shares"]
        assert sum(shares.values()) <= NANO
        key = UsageKey(line["method"], 1, MODES[line["mode"]])
        old = found.get(key, UsageSum(0, 0, 0, {}, {}))
        found[key] = UsageSum(
            old.events + (sign > 0),
            old.retracted + (sign < 0),
            old.unattributed + sign * units * (NANO - sum(shares.values())),
            dict(old.attributed) | {c: old.attributed.get(c, 0) + sign * units * share for c, share in shares.items()},
            dict(old.counts) | {c: old.counts.get(c, 0) + sign for c in shares},
        )
    return found


def distributions_of(given: Mapping[str, Any]) -> dict[str, Distribution]:
    """The rounds by name, each after the deficits of the one before. What a round does not say, the example does."""
    assert given.keys() <= {"collectives", "methods", "policy", "pot_minor", "usage", "rounds"}
    collectives = [
        Collective(name, name, **{**said, "status": CollectiveStatus(said.get("status", "ACTIVE"))})
        for name, said in sorted(given["collectives"].items())
    ]
    confidence_ppm = {(method, 1): ppm for method, ppm in given["methods"].items()}
    assert max(confidence_ppm.values()) <= 10**6
    found: dict[str, Distribution] = {}
    deficits, carried = Deficits(), NOTHING_CARRIED
    for cut in given.get("rounds", [{"name": ""}]):
        assert cut.keys() <= {"name", "policy", "usage", "retracted"}
        policy = Policy(**{**given.get("policy", {}), **cut.get("policy", {})}).require_sound()
        usage = usage_of(cut.get("usage", given.get("usage", [])), cut.get("retracted", []))
        distribution = distribute(policy, given["pot_minor"], usage, confidence_ppm, collectives, deficits, carried)
        deficits = deficits_of(distribution.lines, distribution.deficit_unattributed)
        carried = carried_of(distribution.lines, distribution.kept_after_nano)
        found[cut["name"]] = distribution
    return found


def figure(of: object, column: str) -> Fraction:
    return Fraction(getattr(of, column), UNIT if column in WEIGHTS else 1)


def line_figure(distribution: Distribution, collective: str, column: str) -> Fraction:
    (line,) = (line for line in distribution.lines if line.collective == collective)
    return figure(line, column)


def balances_after_posting(distribution: Distribution) -> dict[str, int]:
    before = {REVENUE: distribution.pot_minor}
    return before | fold(before, posting_transfers(round_content_of(distribution), distribution.lines))


def recomputed(row: Row, rounds: Mapping[str, Distribution]) -> Iterator[tuple[str, Fraction, Fraction]]:
    """Each figure in a row: its column, as it stands on the page, and as it is."""
    first = next(iter(row))
    alone = next(iter(rounds.values()))
    match first:
        case "figure":
            yield row["figure"], number(row["value"]), figure(alone, row["figure"])
        case "collective" | "round":
            distribution = rounds[row["round"]] if first == "round" else alone
            for column in row.keys() - {"round", "collective"}:
                yield column, number(row[column]), line_figure(distribution, row["collective"], column)
        case "account":
            after = balances_after_posting(alone)
            pot = alone.pot_minor if row["account"] == REVENUE else 0
            yield "balance before", number(row["balance before"]), Fraction(pot)
            yield "balance after", number(row["balance after"]), Fraction(after.get(row["account"], 0))
        case _:  # a figure of every collective, with a round in each row
            distribution = rounds[row[first]]
            names = {line.collective for line in distribution.lines}
            assert names <= row.keys()
            for column in row.keys() - {first}:
                is_now = line_figure(distribution, column, first) if column in names else figure(distribution, column)
                yield column, number(row[column]), is_now


def test_the_section_has_examples_and_each_has_figures() -> None:
    assert len(EXAMPLES) == 12
    assert [example.title for example in EXAMPLES if example not in ROUNDS] == [HUNDRED, *STEPS, ADJUSTED, FUND]
    assert all(example.tables for example in EXAMPLES)


@pytest.mark.parametrize("example", ROUNDS, ids=lambda example: example.title)
def test_every_figure_is_what_distribute_makes_of_the_input(example: Example) -> None:
    rounds = distributions_of(example.given)
    for table in example.tables:
        for row in table:
            for column, shown, found in recomputed(row, rounds):
                assert shown == found, (row, column)


@pytest.mark.parametrize("example", ROUNDS, ids=lambda example: example.title)
def test_nothing_is_lost_in_an_example(example: Example) -> None:
    for distribution in distributions_of(example.given).values():
        assert (
            sum(line.amount_minor for line in distribution.lines)
            + distribution.fee_minor
            + (distribution.commons_kept_minor + distribution.carried_minor + distribution.rounding_minor)
            == (example.given["pot_minor"])
        )


def test_the_accounts_of_an_example_are_all_that_posting_touches() -> None:
    tables = [(example, table) for example in ROUNDS for table in example.tables if "account" in table[0]]
    assert tables
    for example, table in tables:
        (distribution,) = distributions_of(example.given).values()
        after = balances_after_posting(distribution)
        assert {row["account"] for row in table} == after.keys()
        assert sum(number(row["balance after"]) for row in table) == distribution.pot_minor


def test_a_hundred_rounds_come_to_what_the_page_shows() -> None:
    (example,) = (example for example in EXAMPLES if example.title == HUNDRED)
    given, (table,) = dict(example.given), example.tables
    times = given.pop("times")
    for row in table:
        rule = row.pop(f"paid in {times} rounds")
        cut = {**given, "policy": {"rounding": rule}, "rounds": [{"name": str(number)} for number in range(times)]}
        found = list(distributions_of(cut).values())
        paid = {
            name: sum(line.attributed_minor for each in found for line in each.lines if line.collective == name)
            for name in given["collectives"]
        }
        paid["rounding"] = sum(each.rounding_minor for each in found)
        assert {name: number(cell) for name, cell in row.items()} == paid
        assert sum(paid.values()) == times * given["pot_minor"]


# The real fund, against water-filling in exact fractions that knows nothing of how `apportion` finds its answer.


def fund() -> tuple[Mapping[str, Any], list[int], list[int]]:
    """The example's input, the scores and the amounts."""
    (given,) = (example.given for example in EXAMPLES if example.title == FUND)
    assert given.keys() == {"pot_minor", "cap_ppm", "policy", "payees", "score"}
    scores = [eval(given["score"], {"__builtins__": {}}, {"i": i}) for i in range(1, given["payees"] + 1)]
    names = [f"p{i:03}" for i in range(1, given["payees"] + 1)]
    usage = {UsageKey("score", 1, AI_ONLY): UsageSum(len(names), 0, 0, dict(zip(names, scores, strict=True)), {})}
    collectives = [Collective(name, name) for name in names]
    policy = Policy(**given["policy"]).require_sound()
    found = distribute(policy, given["pot_minor"], usage, {("score", 1): 10**6}, collectives)
    assert found.carried_minor == found.fee_minor == found.commons_minor == found.commons_kept_minor == 0
    return given, scores, [line.attributed_minor for line in found.lines]


def water_filled(total: int, weights: list[int], floor: int, cap: int) -> list[Fraction]:
    """`clamp(k * weight, floor, cap)` for the `k` at which the sum is the total; it grows with k, in straight lines."""

    def amounts(k: Fraction) -> list[Fraction]:
        return [min(max(k * weight, Fraction(floor)), Fraction(cap)) for weight in weights]

    breaks = sorted({Fraction(bound, weight) for weight in weights for bound in (floor, cap)})
    place = bisect_left(breaks, Fraction(total), key=lambda k: sum(amounts(k), Fraction()))
    low, high = breaks[place - 1], breaks[place]
    below, above = sum(amounts(low)), sum(amounts(high))
    return amounts(low + (high - low) * (total - below) / (above - below))


def test_the_fund_s_constraints_hold_to_the_last_unit() -> None:
    given, scores, amounts = fund()
    total, floor, cap = given["pot_minor"], given["policy"]["floor_minor"], given["policy"]["cap_minor"]
    assert (total, floor, cap) == (1_333_333, 200, total * given["cap_ppm"] // 10**6)
    assert sum(amounts) == total
    assert min(amounts) >= floor
    assert max(amounts) <= cap
    assert max(scores) > 10**6 * min(scores) > 0
    assert all(more >= less for more, less in pairwise(amounts))
    assert all(more > less for more, less in pairwise(scores))


def test_the_fund_s_amounts_are_the_largest_remainders_of_water_filling() -> None:
    given, scores, amounts = fund()
    exact = water_filled(given["pot_minor"], scores, given["policy"]["floor_minor"], given["policy"]["cap_minor"])
    assert sum(exact) == given["pot_minor"]
    whole = [share.__floor__() for share in exact]
    left = given["pot_minor"] - sum(whole)
    by_remainder = sorted(range(len(exact)), key=lambda i: (whole[i] - exact[i], i))
    assert amounts == [whole[i] + (i in by_remainder[:left]) for i in range(len(exact))]
    assert amounts == apportion(given["pot_minor"], scores, floor=200, cap=66_666)


def test_the_fund_s_figures_are_what_the_page_shows() -> None:
    given, scores, amounts = fund()
    (example,) = (example for example in EXAMPLES if example.title == FUND)
    exact = water_filled(given["pot_minor"], scores, given["policy"]["floor_minor"], given["policy"]["cap_minor"])
    bounds = [given["policy"]["cap_minor"], given["policy"]["floor_minor"]]
    at_cap, at_floor = ([share == bound for share in exact].count(True) for bound in bounds)
    totals, payees = example.tables
    assert {row["figure"]: number(row["value"]) for row in totals} == {
        "payees at the cap": at_cap,
        "payees at the floor": at_floor,
        "payees in between": len(amounts) - at_cap - at_floor,
        "total of the amounts": sum(amounts),
    }
    without_bounds = apportion(given["pot_minor"], scores)
    shown = [int(row["payee"].removeprefix("p")) for row in payees]
    assert shown[0] == 1
    assert shown[-1] == len(amounts)
    for row, i in zip(payees, shown, strict=True):
        assert number(row["score"]) == scores[i - 1], row
        assert number(row["without bounds"]) == without_bounds[i - 1], row
        assert number(row["amount"]) == amounts[i - 1], row


@pytest.mark.parametrize("title", STEPS)
def test_a_history_on_the_page_has_the_rounds_that_it_says(title: str) -> None:
    (example,) = [each for each in EXAMPLES if each.title == title]
    log = PoolLog(collectives=[Collective(name, name) for name in example.given["collectives"]], platforms=("acme",))
    log.now = datetime(2027, 1, 1, tzinfo=UTC)
    log.open(Policy.model_validate(example.given["policy"]).require_sound(), "RECEIVED")
    log.method(1_000_000)
    numbers = count(1)
    steps: Any = example.given["steps"]
    for step in steps:
        match step:
            case {"usage": units}:
                month = units.pop("month")
                occurred = datetime.fromisoformat(f"{month}-15T00:00:00+00:00")
                at_microseconds = round(occurred.timestamp()) * 1_000_000
                log.usage(
                    [
                        Event(event_id(next(numbers)), None, at_microseconds, each, AI_ONLY, ((name, NANO),))
                        for name, each in units.items()
                    ]
                )
            case {"report": {"period": period, "amount_minor": amount_minor}}:
                log.report(amount_minor, "acme", period)
            case {"receipt": amount_minor}:
                receipt = log.receipt(amount_minor, "acme")
            case {"chargeback": amount_minor}:
                log.reversal(receipt, amount_minor, platform="acme", chargeback=True)
            case {"round": period}:
                content = log.content(log.calculate())
                assert content.period == period
                log.decide(Decision.APPROVED, "policy")
                log.post()
    (table,) = example.tables
    rounds = [content for _, content in log.placed(RoundContent)]
    assert len(table) == len(rounds) == 3
    for row, content in zip(table, rounds, strict=True):
        lines = {line.collective: line for line in parse_statement(log.bodies[bytes.fromhex(content.statement_sha256)])}
        for column, cell in row.items():
            if column in ("period", "round"):
                assert cell == (content.period if column == "period" else str(content.number))
                continue
            found = lines[column].amount_minor if column in lines else getattr(content, column)
            assert found == number(cell), (content.period, column)


def test_an_adjustment_on_the_page_is_recouped_as_it_says() -> None:
    (example,) = (each for each in EXAMPLES if each.title == ADJUSTED)
    log = PoolLog(collectives=[Collective(name, name) for name in example.given["collectives"]])
    log.open(Policy(**example.given["policy"]).require_sound())
    for method, ppm in example.given["methods"].items():
        log.method(ppm, method)
    changed, after = example.tables
    balances: list[dict[str, int]] = []
    for step in example.given["steps"]:
        match step:
            case {"usage": by_method}:
                for method, units in by_method.items():
                    events = [
                        Event(event_id(log.size()), "", 0, each, AI_ONLY, ((name, NANO),))
                        for name, each in units.items()
                    ]
                    log.usage(events, method=method)
            case {"report": amount_minor}:
                log.report(amount_minor)
            case {"confidence": right}:
                leaves = [log.method(ppm, method) for method, ppm in right.items()]
            case {"adjustment": number_}:
                lines = log.adjusted_lines(number_, leaves)
                log.adjust(number_, leaves)
            case {"round": _}:
                log.calculate()
                log.decide(Decision.APPROVED, "policy")
                log.post()
        if "round" in step or "adjustment" in step:
            balances.append({account: log.balance(account) for account in after[0] if account != "after"})
    for row, line in zip(changed, lines, strict=True):
        shown = [int(number(row[name])) for name in ("old", "new", "difference")]
        assert (row["account"], shown) == (line.account, [line.old_minor, line.new_minor, line.difference_minor])
    assert [{account: number(cell) for account, cell in row.items() if account != "after"} for row in after] == balances
