"""A collective's statement as a PDF: what its page says, to be printed and filed. The same bytes each time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any, Final

from babel.dates import format_date
from fpdf import FPDF
from fpdf.enums import XPos, YPos

from services.console.formats import amount_text, moment
from services.console.texts import Tongue, marked

_LEFT: Final = 110
_RIGHT: Final = 60
_LINE: Final = 6.5
_SIGNS: Final = (
    ("\N{MINUS SIGN}", "-"),
    ("\N{NARROW NO-BREAK SPACE}", " "),
    ("\N{RIGHT SINGLE QUOTATION MARK}", "'"),
)
_SOFT: Final = (98, 93, 84)
_RULE: Final = (228, 223, 213)

LINES: Final = (
    ("weight_ai_only", marked("Weight from AI-only use")),
    ("weight_human_ai", marked("Weight from human and AI use")),
    ("deficit_before", marked("Still owed to retractions before")),
    ("weight", marked("Weight under the policy")),
    ("deficit_after", marked("Still owed to retractions after")),
    ("events", marked("Events")),
)


def statement_pdf(
    tongue: Tongue,
    pool: str,
    round_: Any,
    collective: str,
    line: dict[str, str],
    weights: Sequence[dict[str, str]],
    adjusted: Sequence[Any] = (),
) -> bytes:
    """Returns the PDF of a statement.

    Its fonts are those that every reader of PDFs has, which know Western European letters; others become `?`.

    Args:
        tongue: the reader's.
        pool: what the pool is called.
        round_: the round's message.
        collective: the collective's id.
        line: its line of the statement.
        weights: its lines of the table of weights.
        adjusted: its lines of the round's adjustments.
    """
    pdf = FPDF()
    made = moment(round_.calculate_time)
    assert made is not None  # noqa: S101  # every round was calculated at a time
    pdf.set_creation_date(made.astimezone(UTC))
    pdf.set_title(_plain(tongue.text("Statement of round %(number)s") % {"number": round_.number}))
    pdf.set_lang(tongue.language)
    pdf.set_margins(20, 20)
    pdf.add_page()
    _text(pdf, pool, 11, is_soft=True)
    _text(pdf, tongue.text("Statement of round %(number)s") % {"number": round_.number}, 22)
    _text(pdf, f"{collective}, {format_date(made, 'long', locale=tongue.locale)}", 11, is_soft=True)
    pdf.ln(6)
    for name, text in (
        ("attributed_minor", "Attributed"),
        ("commons_minor", "From the commons"),
        ("amount_minor", "Amount"),
    ):
        _pair(pdf, tongue.text(text), _money(tongue, round_, int(line[name])), is_strong=name == "amount_minor")
    pdf.ln(6)
    if adjusted:
        _text(pdf, tongue.text("Adjustments"), 13)
    for each in adjusted:
        for text, amount_minor in (("Before", each.old_minor), ("Now", each.new_minor)):
            _pair(pdf, tongue.text(text), _money(tongue, round_, amount_minor))
        _pair(pdf, tongue.text("Difference"), _money(tongue, round_, each.difference_minor), is_strong=True)
        _text(pdf, each.reason, 10, is_soft=True)
        pdf.ln(6)
    _text(pdf, tongue.text("How it comes about"), 13)
    for name, text in LINES:
        _pair(pdf, tongue.text(text), line[name])
    pdf.ln(6)
    _text(pdf, tongue.text("Where the weight comes from"), 13)
    for each in weights:
        mode = tongue.text("AI only") if each["mode"] == "1" else tongue.text("Human and AI")
        _pair(pdf, f"{each['method']} {each['method_version']}, {mode}", each["weight"])
    pdf.ln(6)
    _text(pdf, tongue.text("Where it stands in the log"), 13)
    for text, value in (("Entry", str(round_.leaf_index)), ("Statement", round_.statement_sha256.hex())):
        _pair(pdf, tongue.text(text), value, is_small=True)
    return bytes(pdf.output())


def _money(tongue: Tongue, round_: Any, amount_minor: int) -> str:
    return f"{amount_text(amount_minor, round_.currency, tongue.locale)} {round_.currency}"


def _text(pdf: FPDF, text: str, size: int, *, is_soft: bool = False) -> None:
    pdf.set_font("Helvetica", size=size)
    pdf.set_text_color(*(_SOFT if is_soft else (0, 0, 0)))
    pdf.multi_cell(0, size * 0.55, _plain(text), new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _pair(pdf: FPDF, name: str, value: str, *, is_strong: bool = False, is_small: bool = False) -> None:
    pdf.set_draw_color(*_RULE)
    pdf.set_text_color(*_SOFT)
    pdf.set_font("Helvetica", size=10)
    left = 30 if is_small else _LEFT
    pdf.cell(left, _LINE, _plain(name), border="B")
    pdf.set_text_color(0, 0, 0)
    pdf.set_font("Helvetica", style="B" if is_strong else "", size=8 if is_small else 10)
    pdf.cell(_LEFT + _RIGHT - left, _LINE, _plain(value), border="B", align="R", new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _plain(text: str) -> str:
    """The text in the letters of the fonts; signs of typography become their plain ones."""
    for sign, plain in (
        ("\N{MINUS SIGN}", "-"),
        ("\N{NARROW NO-BREAK SPACE}", " "),
        ("\N{RIGHT SINGLE QUOTATION MARK}", "'"),
    ):
        text = text.replace(sign, plain)
    return text.encode("latin-1", "replace").decode("latin-1")
