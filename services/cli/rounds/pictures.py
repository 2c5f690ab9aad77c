"""Pictures of a round, as SVG text: how evenly it paid, and the flow of the money from the pot to the payees.

The same arguments give the same bytes on every machine: coordinates are whole thousandths of a pixel, and no
floating-point number is formatted. A picture has its own light background, so that it is readable on a dark page too.
The colours are those of M. Okabe and K. Ito for all kinds of colour vision (*Color Universal Design*, 2008), and no
lines differ only in colour.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from html import escape
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from payout.fairness import Concentration, FairnessReport, RoundFigures, require_matching, share_ppm
from payout.rounds import Line

SHOWN_PAYEES: Final = 12
"""Payees with a band of their own in a flow; the others share one."""

MAX_NAME_WIDTH: Final = 32
"""Of a name in a flow, in Latin letters: more do not fit."""

_PX: Final = 1_000
_MARGIN: Final = 32 * _PX
_BLUE, _ORANGE, _GREEN, _VERMILION = "#0072b2", "#e69f00", "#009e73", "#d55e00"
_INK, _MUTED, _GREY, _PALE, _RULE, _PAPER = "#1f2933", "#5b6570", "#8a929c", "#b4bcc5", "#e3e6ea", "#ffffff"
_FONTS: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', Arial, sans-serif"

_ALL_LINE: Final = {"stroke": _BLUE, "stroke-width": "2.5", "stroke-linejoin": "round"}
_PAID_LINE: Final = {"stroke": _VERMILION, "stroke-width": "2.5", "stroke-dasharray": "8 4"}
_EQUAL_LINE: Final = {"stroke": _GREY, "stroke-width": "1.5", "stroke-dasharray": "2 4"}

_FLOW_WIDTH, _FLOW_TOP, _POT_HEIGHT = 1_040 * _PX, 120 * _PX, 360 * _PX
_COLUMNS: Final = (_MARGIN, 330 * _PX, 716 * _PX)
_BAR, _LABEL, _GAP = 14 * _PX, 34 * _PX, 8 * _PX

# XML 1.0 (section 2.2) does not allow these; and the others change the reading order of the text beside them.
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TURNS_ORDER: Final = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_WIDE_FROM: Final = 0x1100
"""From this code point on (Hangul, then Chinese and Japanese), a letter is mostly as wide as two Latin ones."""


def lorenz_svg(report: FairnessReport, *, title: str = "How evenly the round paid", subtitle: str = "") -> str:
    """The Lorenz curves of all registered collectives and of the paid ones, beside equality, with their measures."""
    left, top, side = 92 * _PX, 92 * _PX, 340 * _PX
    body = [*_axes(left, top, side), _tag("line", x1=left, y1=top + side, x2=left + side, y2=top, **_EQUAL_LINE)]
    if report.registered and report.paid:
        curves = [_curve(of, left, top, side) for of in (report.registered, report.paid)]
        body.append(_tag("polygon", points=curves[0], fill=_BLUE, **{"fill-opacity": "0.1"}))
        for points, style in zip(curves, (_ALL_LINE, _PAID_LINE), strict=True):
            body.append(_tag("polyline", points=points, fill="none", **style))
    else:
        body.append(_text("Nobody is paid in this round", left + 12 * _PX, top + side // 8))
    body += _legend(report, 468 * _PX, 126 * _PX)
    body += _measures(report, 468 * _PX, 244 * _PX)
    return _svg(800 * _PX, 508 * _PX, title, subtitle, body)


def _axes(left: int, top: int, side: int) -> Iterator[str]:
    for percent in range(0, 101, 20):
        along = side * percent // 100
        x, y = left + along, top + side - along
        yield _tag("line", x1=x, y1=top, x2=x, y2=top + side, stroke=_RULE)
        yield _tag("line", x1=left, y1=y, x2=left + side, y2=y, stroke=_RULE)
        yield _text(f"{percent}%", x, top + side + 20 * _PX, size=12, anchor="middle", fill=_MUTED)
        yield _text(f"{percent}%", left - 10 * _PX, y + 4 * _PX, size=12, anchor="end", fill=_MUTED)
    yield _text("Share of collectives, worst paid first", left + side // 2, top + side + 46 * _PX, anchor="middle")
    upward = f"translate({_px(left - 50 * _PX)} {_px(top + side // 2)}) rotate(-90)"
    yield _tag("g", _text("Share of the money", 0, 0, anchor="middle"), transform=upward)


def _curve(of: Concentration, left: int, top: int, side: int) -> str:
    return " ".join(
        f"{_px(left + point.collectives * side // of.collectives)},"
        f"{_px(top + side - point.amount_minor * side // of.amount_minor)}"
        for point in of.lorenz
    )


def _legend(report: FairnessReport, left: int, top: int) -> Iterator[str]:
    entries = (
        (_ALL_LINE, f"All registered collectives ({report.collectives:,})"),
        (_PAID_LINE, f"Paid collectives only ({report.payees:,})"),
        (_EQUAL_LINE, "Equality: all get the same"),
    )
    for row, (style, label) in enumerate(entries):
        y = top + row * 26 * _PX
        yield _tag("line", x1=left, y1=y, x2=left + 36 * _PX, y2=y, **style)
        yield _text(label, left + 46 * _PX, y + 4 * _PX)


def _measures(report: FairnessReport, left: int, top: int) -> Iterator[str]:
    """The measures of both populations in two columns."""
    for row, label in enumerate(("Gini coefficient", "Top 1% (at least one) get", "Herfindahl index", "Jain index")):
        y = top + (32 + 32 * row) * _PX
        yield _tag("line", x1=left, y1=y - 20 * _PX, x2=left + 304 * _PX, y2=y - 20 * _PX, stroke=_RULE)
        yield _text(label, left, y)
    for x, heading, of in ((228 * _PX, "All", report.registered), (304 * _PX, "Paid", report.paid)):
        yield _text(heading, left + x, top, anchor="end", bold=True)
        for row, value in enumerate(_measured(of) if of else ["n/a"] * 4):
            yield _text(value, left + x, top + (32 + 32 * row) * _PX, anchor="end")


def _measured(of: Concentration) -> list[str]:
    gini, jain = (_decimals((ppm + 50) // 100, 4) for ppm in (of.gini_ppm, of.jain_ppm))
    return [gini, _percent(of.top_percent_ppm), _decimals(of.herfindahl_ppm, 6), jain]


@dataclass(slots=True, eq=False)
class _Node:
    """An amount in a column of a flow; its bar is as high as its part of the pot. Laid out step by step."""

    label: str
    colour: str
    amount_minor: int
    height: int = 0
    left: int = 0
    top: int = 0


class _Flow(NamedTuple):
    """An amount that flows from a node to one in the next column, as a band in a part's colour."""

    source: _Node
    target: _Node
    colour: str
    amount_minor: int


def flow_svg(
    figures: RoundFigures,
    lines: Sequence[Line],
    *,
    currency: str,
    exponent: int,
    names: Mapping[str, str] | None = None,
    title: str = "Where the money went",
    subtitle: str = "",
) -> str:
    """The flow of a round's money: the pot, what became of its parts, and the payees of those that were paid out.

    The 12 best paid have bands of their own (among equals, the lower ids), the others share one. A band is as high as
    its part of the pot, to a thousandth of a pixel, and the bands on either side of a bar add up to it exactly.

    Args:
        figures: the round's.
        lines: those of its statement.
        currency: shown after an amount.
        exponent: how many decimals an amount has.
        names: display names by collective; a collective without one is shown by its id.
        title: shown above the picture.
        subtitle: shown below the title.

    Raises:
        ValueError: the lines do not add up to the figures.
    """
    require_matching(figures, lines)
    given_minor = max(0, -figures.rounding_minor)
    whole_minor = figures.pot_minor + given_minor
    label = "Pot, and fractions made whole" if given_minor else "Pot"
    pot = _Node(label, _INK, whole_minor, height=_POT_HEIGHT if whole_minor else 0)
    parts, payees = _parts(figures), _payees(figures, lines, names or {})
    divided = [_Flow(pot, part, part.colour, part.amount_minor) for part in parts]
    paid = [_Flow(part, node, part.colour, of[n]) for n, part in enumerate(parts[:2]) for node, of in payees]
    bands = [*zip(divided, _widths(divided, pot), strict=True), *zip(paid, _widths(paid, pot), strict=True)]
    for flow, width in bands:
        flow.target.height += width

    middle, right = [part for part in parts if part.amount_minor], [node for node, _ in payees]
    room = max(_room([pot]), _room(middle), _room(right))
    for left, column, beside in zip(_COLUMNS, ([pot], middle, right), (middle or [pot], middle, right), strict=True):
        _place(column, left, _FLOW_TOP + (room - _room(beside)) // 2)
    body = [*_drawn(bands)]
    for node in (pot, *middle, *right):
        body.append(_tag("rect", x=node.left, y=node.top, width=_BAR, height=max(node.height, _PX), fill=node.colour))
        amount = f"{_decimals(node.amount_minor, exponent)} {currency}"
        part = _percent(share_ppm(node.amount_minor, pot.amount_minor) or 0)
        body += _labels(node, amount if node is pot else f"{amount} · {part}")
    return _svg(_FLOW_WIDTH, _FLOW_TOP + room + _MARGIN, title, subtitle, body)


def _parts(figures: RoundFigures) -> list[_Node]:
    """The parts of a pot. The two that are paid out come first, and so at the pot's start."""
    return [
        _Node("Attributed", _BLUE, figures.attributed_minor),
        _Node("Commons, shared", _ORANGE, figures.commons_minor),
        _Node("Commons, kept in the fund", _GREEN, figures.commons_kept_minor),
        _Node("Carried over", _PALE, figures.carried_minor),
        _Node("Fractions, carried", _PALE, max(0, figures.rounding_minor)),
        _Node("Fee", _GREY, figures.fee_minor),
    ]


def _payees(
    figures: RoundFigures, lines: Sequence[Line], names: Mapping[str, str]
) -> list[tuple[_Node, tuple[int, int]]]:
    """The payees with their attributed and commons amounts, the best paid first and all others together last."""
    paid = [line for line in lines if line.amount_minor]
    best = nsmallest(SHOWN_PAYEES, paid, key=lambda line: (-line.amount_minor, line.collective))
    labels = [_shortened(names.get(line.collective, "")) or line.collective for line in best]
    amounts = [(line.attributed_minor, line.commons_minor) for line in best]
    others = len(paid) - len(best)
    if others:
        attributed_minor, commons_minor = map(sum, zip(*amounts, strict=True))
        labels.append(f"{others:,} other{'s' * (others > 1)}")
        amounts.append((figures.attributed_minor - attributed_minor, figures.commons_minor - commons_minor))
    return [(_Node(label, _INK, sum(of)), of) for label, of in zip(labels, amounts, strict=True)]


def _widths(flows: Sequence[_Flow], pot: _Node) -> list[int]:
    """Returns the widths of the bands. They divide the pot from its start; edges are rounded, so that widths add up."""
    edges_minor = accumulate((flow.amount_minor for flow in flows), initial=0)
    whole = pot.amount_minor or 1
    edges = [(2 * minor * _POT_HEIGHT + whole) // (2 * whole) for minor in edges_minor]
    return [end - start for start, end in pairwise(edges)]


def _room(column: Sequence[_Node]) -> int:
    """How high a column is: every bar has room for its label, and a gap."""
    return sum(max(node.height, _LABEL) + _GAP for node in column)


def _place(column: Sequence[_Node], left: int, top: int) -> None:
    for node in column:
        room = max(node.height, _LABEL)
        node.left, node.top = left, top + (room - node.height) // 2
        top += room + _GAP


def _drawn(bands: Iterable[tuple[_Flow, int]]) -> Iterator[str]:
    """Yields the bands; on both sides of a bar, each starts where the previous one ends."""
    leaving: Counter[_Node] = Counter()
    arriving: Counter[_Node] = Counter()
    for (source, target, colour, _), width in bands:
        left, right = source.left + _BAR, target.left
        start, end = source.top + leaving[source], target.top + arriving[target]
        leaving[source] += width
        arriving[target] += width
        x1, x2, bend = _px(left), _px(right), _px((left + right) // 2)
        y1, y2, y3, y4 = _px(start), _px(end), _px(end + width), _px(start + width)
        path = f"M{x1} {y1}C{bend} {y1} {bend} {y2} {x2} {y2}V{y3}C{bend} {y3} {bend} {y4} {x1} {y4}Z"
        if width:
            yield _tag("path", d=path, fill=colour, **{"fill-opacity": "0.4"})


def _labels(node: _Node, amount: str) -> Iterator[str]:
    """A node's name and amount, where no bands cross: above the pot, before a part, behind a payee."""
    pot, part, _ = (node.left == left for left in _COLUMNS)
    x = node.left if pot else node.left - 9 * _PX if part else node.left + _BAR + 9 * _PX
    y = node.top - 22 * _PX if pot else node.top + node.height // 2
    yield _text(node.label, x, y - 3 * _PX, anchor="end" if part else "start", bold=True)
    yield _text(amount, x, y + 13 * _PX, size=12, anchor="end" if part else "start")


def _svg(width: int, height: int, title: str, subtitle: str, body: Iterable[str]) -> str:
    elements = [
        _tag("title", escape(_clean(title))),
        _tag("rect", x=500, y=500, width=width - _PX, height=height - _PX, rx=10 * _PX, fill=_PAPER, stroke=_RULE),
        _text(title, _MARGIN, 42 * _PX, size=19, bold=True),
        _text(subtitle, _MARGIN, 64 * _PX, fill=_MUTED),
    ]
    frame = {"viewBox": f"0 0 {_px(width)} {_px(height)}", "role": "img", "font-family": _FONTS}
    content = "\n".join(["", *elements, *body, ""])
    return _tag("svg", content, xmlns="http://www.w3.org/2000/svg", width=width, height=height, **frame) + "\n"


def _text(
    text: str, x: int, y: int, *, size: int = 13, anchor: str = "start", fill: str = _INK, bold: bool = False
) -> str:
    style = {"font-size": f"{size}", "font-weight": "600" if bold else "400", "text-anchor": anchor}
    return _tag("text", escape(_clean(text)), x=x, y=y, fill=fill, **style)


def _tag(name: str, content: str = "", /, **attributes: str | int) -> str:
    """An element. A number is a length in thousandths of a pixel, a text is escaped; `content` is markup already."""
    pairs = "".join(
        f' {key}="{_px(value) if isinstance(value, int) else escape(value)}"' for key, value in attributes.items()
    )
    return f"<{name}{pairs}>{content}</{name}>" if content else f"<{name}{pairs}/>"


def _clean(text: str) -> str:
    """Returns a text on one line, without characters that XML does not allow or that reorder their surroundings."""
    return " ".join(_TURNS_ORDER.sub("", _NOT_XML.sub("\ufffd", text)).split())


def _shortened(name: str) -> str:
    """A name cut to the room there is."""
    clean = _clean(name)
    widths = accumulate(2 if ord(letter) >= _WIDE_FROM else 1 for letter in clean)
    fitting = sum(1 for width in widths if width <= MAX_NAME_WIDTH)
    return clean if fitting == len(clean) else clean[: fitting - 1].rstrip() + "…"


def _percent(ppm: int) -> str:
    tenths = (ppm + 500) // 1_000
    return f"{_decimals(tenths, 1)}%" if tenths else "<0.1%"


def _decimals(value: int, places: int) -> str:
    """A whole number of 10^-places, with that many decimals."""
    whole, rest = divmod(value, 10**places)
    return f"{whole:,}.{rest:0{places}d}" if places else f"{whole:,}"


def _px(thousandths: int) -> str:
    return f"{thousandths // _PX}.{thousandths % _PX:03d}".rstrip("0").rstrip(".")
