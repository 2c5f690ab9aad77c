"""A round's statement for people: of the whole round, or the reasons for one collective's amount."""

from __future__ import annotations

import csv
import io
from typing import Any, Final

from ledger.money import decimal_text, minor_unit_exponent
from moiety import Client, Mode, Round
from moiety.v1 import rounds_pb2 as pb
from payout.policy import Policy, counted_weight
from services.cli.base.documents import document, identity
from services.cli.base.exits import InputError
from services.cli.base.money import major
from services.cli.base.output import details, table

Line = dict[str, Any]


def statement_lines(content: bytes) -> list[Line]:
    """The lines of a statement; amounts are integers, weights stay text because they pass 2^53."""
    reader = csv.DictReader(io.StringIO(content.decode()))
    return [{name: int(cell) if name.endswith("_minor") else cell for name, cell in line.items()} for line in reader]


def statement_table(lines: list[Line], currency: str) -> object:
    """The lines of a statement, or of another of a round's tables, for people."""
    if not lines:
        return "No collectives."
    names = list(lines[0])
    numbers = [name for name in names if name.endswith("_minor") or name.startswith(("weight", "deficit", "event"))]
    weight_decimals = _RAW if "method" in names else _COUNTED
    rows = [[_shown(name, cell, currency, weight_decimals) for name, cell in line.items()] for line in lines]
    return table([_title(name) for name in names], rows, right=[_title(name) for name in numbers])


def policy_terms(found: Round) -> object:
    """The policy in force in a round, with the field names of a declaration."""
    terms = document(found.policy)
    return details(
        [
            ("policy", f"version {found.policy.version}"),
            *((f"  {name}", _term(name, terms[name], found.currency)) for name in Policy.model_fields),
        ]
    )


def _term(name: str, value: Any, currency: str) -> object:
    """A term as a declaration has it, with what it comes to."""
    if value is None or not name.endswith(("_ppm", "_minor")):
        return value
    return f"{value} ({_shown(name, value, currency, 0)})"


def explain(client: Client, pool: str, found: Round, collective: str) -> tuple[Line, tuple[object, ...]]:
    """Returns the reasons for a collective's amount in a round: for machines, and for people.

    Raises:
        InputError: the round has no line of this collective.
    """

    def lines(part: pb.StatementPart.ValueType) -> list[Line]:
        return statement_lines(client.get_statement(pool, found.number, part=part, collective=collective))

    own = lines(pb.STATEMENT_PART_LINES)
    if not own:
        raise InputError.of("collective", f"{collective} has no line in round {found.number}")
    (registered,) = lines(pb.STATEMENT_PART_REGISTRY)
    methods = {(identity(each.name), str(each.version)): each.confidence_ppm for each in client.list_methods(pool)}
    mode_ppm = {Mode.AI_ONLY: found.policy.ai_only_ppm, Mode.HUMAN_AI: found.policy.human_ai_ppm}
    weights = []
    for line in lines(pb.STATEMENT_PART_WEIGHTS):
        mode = Mode(int(line["mode"]))
        confidence_ppm = methods[line["method"], line["method_version"]]
        counted = str(counted_weight(int(line["weight"]), mode_ppm[mode], confidence_ppm))
        terms = {"mode": mode.name, "mode_ppm": mode_ppm[mode], "confidence_ppm": confidence_ppm, "counted": counted}
        weights.append({**line, **terms})
    line = registered | own[0]
    people = (
        details(
            [
                ("round", found.number),
                *((_title(name), _shown(name, line[name], found.currency, _COUNTED)) for name in line),
            ]
        ),
        _weights_table(weights),
        policy_terms(found),
    )
    return {"line": line, "weights": weights, "policy": document(found.policy)}, people


def _weights_table(weights: list[Line]) -> object:
    if not weights:
        return "No usage names it."
    names = ("method", "method_version", "mode", "events", "weight", "mode_ppm", "confidence_ppm", "counted")
    columns = [_title(name) for name in names]
    rows = [
        [line["mode"] if name == "mode" else _shown(name, line[name], "", _RAW) for name in names] for line in weights
    ]
    return table(columns, rows, right=columns[3:])


def counted_units(weight: object) -> str:
    """A weight that a policy counts, in units of usage: the multiplier of a mode and a confidence are millionths."""
    return _decimal(int(str(weight)), _COUNTED)


def _shown(name: str, cell: Any, currency: str, weight_decimals: int) -> object:
    """A cell for people: amounts as money, millionths as percents, and weights as units of usage."""
    if name == "mode":
        return Mode(int(cell)).name
    if name.endswith("_minor"):
        return major(cell, currency)
    if name.endswith("_nano"):
        return f"{_decimal(int(cell), _NANO + minor_unit_exponent(currency))} {currency}"
    if name.endswith("_ppm"):
        return f"{_decimal(int(cell), _PERCENT)} %"
    decimals = _weight_decimals(name, weight_decimals)
    return cell if decimals is None else _decimal(int(cell), decimals)


def _weight_decimals(name: str, of_weight: int) -> int | None:
    """The decimals of a weight; None for what is no weight."""
    if name.startswith("weight_"):
        return _RAW
    if name == "weight":
        return of_weight
    return _COUNTED if name == "counted" or name.startswith("deficit_") else None


_NANO: Final = 9
_PERCENT: Final = 4
_RAW: Final = 9
"""Decimals of a raw weight, which is units times billionths."""
_COUNTED: Final = 21
"""Those of a counted one: the policy's multiplier and the method's confidence are millionths each."""
_SHOWN_DECIMALS: Final = 12
"""What is finer is left to --json and the CSV."""


def _decimal(value: int, decimals: int) -> str:
    """An integer with its last digits as decimals, without zeros at the end."""
    spare = max(decimals - _SHOWN_DECIMALS, 0)
    rounded = (value + 10**spare // 2) // 10**spare
    text = decimal_text(rounded, decimals - spare)
    return text.rstrip("0").rstrip(".") if "." in text else text


def _title(name: str) -> str:
    shown = name.removesuffix("_minor").removesuffix("_ppm").removesuffix("_nano").replace("_", " ").capitalize()
    return shown.replace("Weight", "Units")
