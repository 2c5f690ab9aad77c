"""`moiety verify` of a statement file: one line of a round, checked with the deployment's public key alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol

from services.cli.base.exits import InputError
from services.cli.base.output import Output, counted

_COUNTED: Final = 9 + 6 + 6
"""Decimals of a counted weight: units times a share, a mode's factor and a confidence."""

STATEMENT_BYTES: Final = 16 * 2**20
"""The longest statement file that is read."""

if TYPE_CHECKING:
    from audit.statements.check import StatementReport
    from ledger.log.key_changes import KeyChange
    from ledger.log.note_keys import VerifierKey
    from ledger.log.witness_policy import WitnessPolicy


class Trust(Protocol):
    """The signatures that a verification requires."""

    def about(self, note: bytes) -> tuple[VerifierKey, tuple[WitnessPolicy, ...], tuple[KeyChange, ...]]:
        """Returns the key of this checkpoint's log, who must have cosigned, and the changes of the key."""


def verify_statement(output: Output, data: bytes, trust: Trust) -> bool:
    """Check a statement file and print what holds; True where all of it does."""
    from audit.statements.check import VERDICT, check_statement
    from audit.statements.file import checkpoint_in

    report = check_statement(data, *trust.about(checkpoint_in(data)))
    output.show(
        {
            "holds": report.holds,
            "held": report.held,
            "failed": report.failed,
            "reason": report.reason,
            "facts": report.facts,
            "verdict": VERDICT if report.holds else "",
        },
        *_lines(report),
    )
    return report.holds


def refuse_options(**given: object) -> None:
    """Check that no option was given that is about bundles only.

    Raises:
        InputError: one was.
    """
    for name, value in given.items():
        if value:
            raise InputError.of(name, "is for bundles, and not for a statement file")


def _lines(report: StatementReport) -> Iterator[str]:
    from audit.statements.check import TITLES, VERDICT

    for number, (check, title) in enumerate(TITLES.items(), 1):
        mark = "✗" if check is report.failed else "✓" if check in report.held else "·"
        yield f"{number:>2}. {mark} {title}"
    yield ""
    if report.holds:
        yield from _facts(report.facts)
        yield ""
        yield VERDICT
    else:
        assert report.failed is not None  # noqa: S101 - what does not hold has failed somewhere
        yield f"It does not hold: {TITLES[report.failed]}."
        yield f"  {report.reason}"


def _facts(facts: dict[str, Any]) -> Iterator[str]:
    from ledger.money import decimal_text, minor_unit_exponent

    exponent = minor_unit_exponent(facts["currency"])

    def money(name: str) -> str:
        return f"{decimal_text(int(facts[name]), exponent)} {facts['currency']}"

    period = f" ({facts['period']})" if facts["period"] else ""
    yield f"{facts['collective']} gets {money('amount_minor')} of round {facts['round']}{period} of {facts['origin']}:"
    yield f"  attributed {money('attributed_minor')}, from the commons {money('commons_minor')}"
    units = decimal_text(int(facts["counted"]), _COUNTED).rstrip("0").removesuffix(".")
    yield f"  for {counted(int(facts['events']), 'event')}, {units} units counted"
    yield f"  line {facts['position'] + 1} of {facts['lines']}, policy version {facts['policy_version']}"
    yield f"  calculated by {facts['calculated_by']} at {facts['calculated_at']}"
    if facts["decided_by"]:
        yield f"  {facts['state'].lower()}, decided by {facts['decided_by']} at {facts['decided_at']}"
    else:
        yield "  not decided yet"
    if facts["aside"] or facts["status"] == "SUSPENDED":
        yield f"  held: {'as disputed' if facts['aside'] else 'the collective is suspended'}"
    if facts["posted_at"]:
        alone = ", by one person alone" if facts["decided_alone"] else ""
        yield f"  posted at {facts['posted_at']}{alone}"
    if facts["cosigned_by"]:
        yield f"  cosigned by {', '.join(facts['cosigned_by'])}"
    if "split_rule" in facts:
        yield f"  split among its members: {facts['split_rule']}"
    if "member" in facts:
        yield f"  {facts['member']} gets {money('member_minor')} of it"
    for each in facts["adjusted"]:
        old, new = int(each["old_minor"]), int(each["new_minor"])
        sums = [f"{decimal_text(amount, exponent)} {facts['currency']}" for amount in (old, new, new - old)]
        yield f"  adjusted from {sums[0]} to {sums[1]}, a difference of {sums[2]}: {each['reason']}"
    for back in facts["returned"]:
        amount = f"{decimal_text(int(back['amount_minor']), exponent)} {facts['currency']}"
        yield f"  {amount} came back on {back['day']}: {back['reason'] or 'the bank gives no reason'}"
    yield f"  paid since, as the file shows: {money('paid_minor')} in {counted(facts['payments'], 'payment')}"
