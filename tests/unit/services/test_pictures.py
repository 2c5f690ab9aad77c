"""Pictures are well-formed, drawn to scale, the same every time, and show names without running them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Final, NamedTuple
from xml.etree import ElementTree as ET

import pytest

from ledger.registry import CollectiveStatus
from payout.fairness import fairness_report
from payout.rounds import Distribution, Line
from services.cli.rounds.pictures import MAX_NAME_WIDTH, SHOWN_PAYEES, flow_svg, lorenz_svg

SVG: Final = "{http://www.w3.org/2000/svg}"
POT_HEIGHT: Final = 360
THOUSANDTH: Final = Fraction(1, 1000)

BLUE, ORANGE, GREEN, CARRIED, FEE = "#0072b2", "#e69f00", "#009e73", "#b4bcc5", "#8a929c"


@dataclass(frozen=True)
class Band:
    """A band's fill, and its top and bottom where it leaves and arrives."""

    fill: str
    x1: Fraction
    x2: Fraction
    leaves: tuple[Fraction, Fraction]
    arrives: tuple[Fraction, Fraction]

    @property
    def width(self) -> Fraction:
        assert self.leaves[1] - self.leaves[0] == self.arrives[1] - self.arrives[0]
        return self.leaves[1] - self.leaves[0]


def line(collective: str, attributed: int, commons: int = 0) -> Line:
    return Line(
        collective=collective,
        status=CollectiveStatus.ACTIVE,
        events=1,
        weight_ai_only=attributed,
        weight_human_ai=0,
        deficit_before=0,
        weight=attributed,
        deficit_after=0,
        attributed_minor=attributed,
        commons_minor=commons,
    )


def a_round(lines: list[Line], fee: int = 0, kept: int = 0, carried: int = 0, rounding: int = 0) -> Distribution:
    attributed, commons = sum(of.attributed_minor for of in lines), sum(of.commons_minor for of in lines)
    pot = fee + attributed + commons + kept + carried + rounding
    return Distribution(1, 0, 1, 0, 0, pot, fee, attributed, commons, kept, carried, rounding, 0, tuple(lines))


def flow(
    lines: list[Line],
    *,
    fee: int = 0,
    kept: int = 0,
    carried: int = 0,
    names: dict[str, str] | None = None,
    exponent: int = 2,
) -> str:
    return flow_svg(a_round(lines, fee, kept, carried), lines, currency="EUR", exponent=exponent, names=names)


def lorenz(lines: list[Line]) -> str:
    return lorenz_svg(fairness_report(a_round(lines), lines, ai_only_ppm=1, human_ai_ppm=1))


def texts(svg: str) -> list[str]:
    return [element.text for element in ET.fromstring(svg).iter(f"{SVG}text") if element.text]


def bands(svg: str) -> list[Band]:
    found = []
    for path in ET.fromstring(svg).iter(f"{SVG}path"):
        x1, y1, _, _, _, y2, x2, _, y3, *_, y4 = map(Fraction, re.findall(r"[0-9.]+", path.attrib["d"]))
        found.append(Band(path.attrib["fill"], x1, x2, (y1, y4), (y2, y3)))
    return found


class Bar(NamedTuple):
    fill: str
    left: Fraction
    top: Fraction
    height: Fraction


def bars(svg: str) -> list[Bar]:
    """All rectangles but the first, which is the background."""
    _, *rects = (element.attrib for element in ET.fromstring(svg).iter(f"{SVG}rect"))
    return [Bar(of["fill"], Fraction(of["x"]), Fraction(of["y"]), Fraction(of["height"])) for of in rects]


MANY: Final = [line(f"c{number:02}", 3 ** (number % 9) * 100_000, number * 1_000_000) for number in range(40)]


def test_a_flow_is_drawn_to_the_scale_of_the_pot() -> None:
    svg = flow([line("a", 300, 30), line("b", 100, 0), line("c", 0, 270)], fee=50, kept=70, carried=80)
    assert [(band.fill, int(band.width)) for band in bands(svg)] == [
        (BLUE, 160),  # 400 of 900 is 160 of 360 pixels
        (ORANGE, 120),
        (GREEN, 28),
        (CARRIED, 32),
        (FEE, 20),
        (BLUE, 120),  # to a
        (BLUE, 40),  # to b
        (ORANGE, 12),  # to a
        (ORANGE, 108),  # to c
    ]
    assert all(band.width.denominator == 1 for band in bands(svg))
    assert texts(svg)[2:] == [
        *("9.00 EUR", "Attributed", "4.00 EUR · 44.4%", "Commons, shared", "3.00 EUR · 33.3%"),
        *("Commons, kept in the fund", "0.70 EUR · 7.8%", "Carried over", "0.80 EUR · 8.9%", "Fee", "0.50 EUR · 5.6%"),
        *("a", "3.30 EUR · 36.7%", "c", "2.70 EUR · 30.0%", "b", "1.00 EUR · 11.1%"),
    ]


def test_widths_add_up_on_both_sides_of_every_bar() -> None:
    svg = flow(MANY, fee=123_456_789, kept=60_000_000, carried=98_765_432)
    drawn = bands(svg)
    pot, *others = bars(svg)
    assert sum(band.width for band in drawn if band.x1 < others[0].left) == pot.height == POT_HEIGHT
    assert len(others) == 5 + SHOWN_PAYEES + 1
    for bar in others:
        within = [band for band in drawn if band.x2 == bar.left and bar.top <= band.arrives[0] < bar.top + bar.height]
        assert sum(band.width for band in within) == bar.height
    for part in others[:2]:
        leaving = [band for band in drawn if band.x1 > part.left and band.fill == part.fill]
        assert sum(band.width for band in leaving) == part.height
        assert leaving[0].leaves[0] == part.top


def test_bands_side_by_side_neither_overlap_nor_leave_gaps() -> None:
    drawn = bands(flow(MANY))
    for fill in (BLUE, ORANGE):
        leaving = [band for band in drawn if band.fill == fill][1:]
        assert len(leaving) == SHOWN_PAYEES + 1
        assert all(above.leaves[1] == below.leaves[0] for above, below in pairwise(leaving))


def test_a_band_is_off_by_a_thousandth_of_a_pixel_at_most() -> None:
    svg = flow(MANY, fee=777)
    pot = a_round(MANY, 777).pot_minor
    best = sorted(MANY, key=lambda of: (-of.amount_minor, of.collective))[:SHOWN_PAYEES]
    blue = [band.width for band in bands(svg) if band.fill == BLUE][1:]
    for width, of in zip(blue[:-1], best, strict=True):
        assert abs(width - Fraction(of.attributed_minor * POT_HEIGHT, pot)) <= THOUSANDTH


def test_the_best_twelve_stand_alone_and_the_others_together() -> None:
    shown = texts(flow([line(f"c{number:02}", 100 + number // 2) for number in range(20)] + [line("z", 0)]))
    labels = [text for text in shown if text.startswith("c") or "other" in text]
    assert labels == [*(f"c{n:02}" for n in (18, 19, 16, 17, 14, 15, 12, 13, 10, 11, 8, 9)), "8 others"]
    assert texts(flow([line(f"c{number:02}", 100) for number in range(13)]))[-2] == "1 other"
    assert not any("other" in text for text in texts(flow([line(f"c{number:02}", 100) for number in range(12)])))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("<script>alert('x')</script>", "<script>alert('x')</script>"),
        ('"/><image href="http://x/">&amp;', '"/><image href="http://x/">&amp;'),
        ("]]> --> <!-- <![CDATA[", "]]> --> <!-- <![CDATA["),
        ("nul \x00 esc \x1b tab\tnew\nline", "nul \ufffd esc \ufffd tab new line"),
        ("lone \ud800 and \ufffe", "lone \ufffd and \ufffd"),
        ("turned \u202egnp.exe\u2066", "turned gnp.exe"),
        ("  \u200f ", "a"),
        ("", "a"),
        ("x" * 200, "x" * (MAX_NAME_WIDTH - 1) + "…"),
        ("音" * 200, "音" * (MAX_NAME_WIDTH // 2 - 1) + "…"),
        ("x" * MAX_NAME_WIDTH, "x" * MAX_NAME_WIDTH),
    ],
)
def test_a_hostile_name_is_shown_as_text_and_nothing_else(name: str, shown: str) -> None:
    plain, hostile = flow([line("a", 1)], names={"a": "Guild"}), flow([line("a", 1)], names={"a": name})
    assert shown in texts(hostile)
    assert Counter(e.tag for e in ET.fromstring(hostile).iter()) == Counter(e.tag for e in ET.fromstring(plain).iter())
    assert hostile.encode()


def test_titles_and_currencies_are_escaped_too() -> None:
    svg = flow_svg(a_round([]), [], currency="<b>", exponent=0, title='<i a="', subtitle="&\x00")
    assert {'<i a="', "&\ufffd", "0 <b>"} <= set(texts(svg))
    report = fairness_report(a_round([]), [], ai_only_ppm=1, human_ai_ppm=1)
    assert {"<i>", "&lt;"} <= set(texts(lorenz_svg(report, title="<i>", subtitle="&lt;")))


def test_the_same_round_gives_the_same_bytes() -> None:
    assert flow(MANY, fee=5) == flow(MANY, fee=5)
    assert flow(MANY[::-1], fee=5) == flow(MANY, fee=5)
    assert lorenz(MANY) == lorenz(MANY[::-1]) == lorenz(MANY)
    assert not re.search(r"\d[eE][-+]?\d", re.sub("#[0-9a-f]{6}", "", flow(MANY) + lorenz(MANY)))


@pytest.mark.parametrize(("exponent", "shown"), [(0, "1,234,567 EUR"), (2, "12,345.67 EUR"), (3, "1,234.567 EUR")])
def test_amounts_have_the_currencys_decimals(exponent: int, shown: str) -> None:
    assert shown in texts(flow([line("a", 1_234_567)], exponent=exponent))


def test_tiny_parts_are_named_and_keep_the_rest_to_scale() -> None:
    svg = flow([line("a", 10**15), line("b", 1)])
    assert "0.01 EUR · <0.1%" in texts(svg)
    assert [band.width for band in bands(svg)] == [POT_HEIGHT, POT_HEIGHT]
    assert all(bar.height >= 1 for bar in bars(svg))


def test_an_empty_pot_and_a_pot_that_is_carried_over_can_be_drawn() -> None:
    assert texts(flow([]))[1:] == ["Pot", "0.00 EUR"]
    assert not bands(flow([line("a", 0)]))
    carried = flow([line("a", 0)], carried=500)
    assert texts(carried)[1:] == ["Pot", "5.00 EUR", "Carried over", "5.00 EUR · 100.0%"]
    assert [band.width for band in bands(carried)] == [POT_HEIGHT]


def test_the_lines_of_another_round_are_not_drawn() -> None:
    with pytest.raises(ValueError, match="add up"):
        flow_svg(a_round([line("a", 1)]), [line("a", 2)], currency="EUR", exponent=2)


def curves(svg: str) -> list[list[tuple[Fraction, Fraction]]]:
    found = []
    for polyline in ET.fromstring(svg).iter(f"{SVG}polyline"):
        pairs = (pair.split(",") for pair in polyline.attrib["points"].split())
        found.append([(Fraction(x), Fraction(y)) for x, y in pairs])
    return found


def test_lorenz_curves_run_from_corner_to_corner_below_equality() -> None:
    svg = lorenz([*MANY, line("unpaid", 0)])
    registered, paid = curves(svg)
    for points in (registered, paid):
        assert points[0] == (Fraction(92), Fraction(432))
        assert points[-1] == (Fraction(432), Fraction(92))
        assert all(x + y >= 92 + 432 - THOUSANDTH for x, y in points)
    assert (len(registered), len(paid)) == (42, 41)
    assert registered[1][1] == 432  # the unpaid one
    assert {"All registered collectives (41)", "Paid collectives only (40)"} <= set(texts(svg))


def test_a_lorenz_picture_stays_small() -> None:
    svg = lorenz([line(f"c{number}", number) for number in range(20_000)])
    assert [len(points) for points in curves(svg)] == [101, 101]
    assert len(svg) < 20_000


def test_a_lorenz_picture_gives_the_measures_in_words() -> None:
    shown = texts(lorenz([line("a", 1), line("b", 2), line("c", 3), line("d", 4), line("e", 0)]))
    assert shown[shown.index("All") :] == [
        *("All", "0.4000", "40.0%", "0.300000", "0.6667"),
        *("Paid", "0.2500", "40.0%", "0.300000", "0.8333"),
    ]


def test_where_nobody_is_paid_the_picture_says_so() -> None:
    svg = lorenz([line("a", 0)])
    assert not curves(svg)
    assert "Nobody is paid in this round" in texts(svg)
    assert texts(svg).count("n/a") == 8
