"""docs/scale.md says what its own constants give, and the constants are those that were measured."""

from __future__ import annotations

from bench import scale


def test_the_page_is_in_line_with_its_constants_and_with_the_results() -> None:
    page = scale.PAGE.read_text()
    assert scale.brought_in_line(page, scale.latest()) == page


def test_every_constant_that_the_arithmetic_names_is_on_the_page_and_used() -> None:
    page = scale.PAGE.read_text()
    constants = scale.constants(page)
    for name in constants:
        assert scale.table(page.replace(f"`{name}` | ", f"`{name}` | 7")) != scale.table(page), name


def test_a_measured_constant_is_shown_to_three_digits() -> None:
    figure = {"name": "storage", "ours": {"median": 187.654}}
    page = scale.brought_in_line(scale.PAGE.read_text(), {"footprint": {"figures": [figure], "series": []}})
    assert scale.constants(page)["stored_bytes_per_event"] == 188


def test_a_small_constant_keeps_its_digits() -> None:
    points = [{"x": 1, "median": 0.0}, {"x": 10**6, "median": 23.46}]
    series = [{"name": f"growth-round-{over}", "lines": {"preview": points}} for over in ("batches", "collectives")]
    page = scale.brought_in_line(scale.PAGE.read_text(), {"growth-rounds": {"figures": [], "series": series}})
    assert scale.constants(page)["round_seconds_per_collective"] == 0.0000235
