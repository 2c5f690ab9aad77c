"""The fairness report as people see it."""

from __future__ import annotations

import pytest

from moiety.v1 import rounds_pb2 as pb
from payout.fairness import concentration
from services.cli.base.output import Output
from services.cli.rounds.fairness import fairness_tables


def spread(*amounts: int) -> pb.Concentration:
    found = concentration(amounts)
    assert found is not None
    points = [pb.LorenzPoint(collectives=at.collectives, amount_minor=at.amount_minor) for at in found.lorenz]
    return pb.Concentration(
        collectives=found.collectives, amount_minor=found.amount_minor, gini_ppm=found.gini_ppm,
        top_percent_ppm=found.top_percent_ppm, herfindahl_ppm=found.herfindahl_ppm, jain_ppm=found.jain_ppm,
        lorenz=points,
    )  # fmt: skip


def shown(found: pb.Fairness, capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    Output(as_json=False).show(None, *fairness_tables(found))
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    parts = [[part.strip() for part in line if part.strip()] for line in lines]
    return {first: rest for first, *rest in filter(None, parts)}


def test_every_measure_is_named_over_all_and_over_the_paid(capsys: pytest.CaptureFixture[str]) -> None:
    usage = pb.ByMode(ai_only="3", human_ai="1", human_ai_ppm=250_000)
    money = pb.ByMode(ai_only="4", human_ai="6", human_ai_ppm=600_000)
    found = pb.Fairness(
        registered=spread(0, 0, 1, 2, 3, 4), paid=spread(1, 2, 3, 4), fee_ppm=50_000, commons_ppm=123_456,
        usage=usage, attributed_minor=money,
    )  # fmt: skip
    report = shown(found, capsys)
    assert report["Measure"] == ["All 6", "Paid 4"]
    assert report["Gini"] == ["50.00 %", "25.00 %"]
    assert report["best paid 1 %"] == ["40.00 %", "40.00 %"]
    assert report["Herfindahl"] == ["30.00 %", "30.00 %"]
    assert report["Jain"] == ["55.55 %", "83.33 %"]
    assert report["worst paid 1 in 10"] == ["0.00 %", "4.00 %"]
    assert report["worst paid 5 in 10"] == ["10.00 %", "30.00 %"]
    assert report["worst paid 9 in 10"] == ["76.00 %", "84.00 %"]
    assert report["commons of the pot"] == ["12.34 %"]
    assert report["usage"] == ["25.00 % human and AI, 75.00 % AI only"]
    assert report["attributed money"] == ["60.00 % human and AI, 40.00 % AI only"]


@pytest.mark.parametrize("collectives", [1, 7, 100, 101, 1000])
def test_where_all_get_the_same_each_tenth_gets_a_tenth(collectives: int, capsys: pytest.CaptureFixture[str]) -> None:
    even = spread(*[3] * collectives)
    report = shown(pb.Fairness(registered=even, paid=even), capsys)
    for tenths in range(1, 10):
        assert report[f"worst paid {tenths} in 10"] == [f"{tenths}0.00 %"] * 2


def test_where_nobody_is_paid_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Nobody is paid." in shown(pb.Fairness(fee_ppm=0), capsys)
