"""Analyses of an export give the service's own figures: in Ibis on DuckDB, and in plain SQL."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import duckdb
import ibis
import pyarrow.parquet as pq
import pytest

from moiety import Client, Mode, Policy
from moiety.analysis import (
    AnalysisError,
    Export,
    money_by,
    open_export,
    recompute_round,
    round_unattributed,
    round_weights,
    rows,
    usage_by,
)
from moiety.v1.rounds_pb2 import ROUND_STATE_POSTED, STATEMENT_PART_WEIGHTS
from payout.statement import STATEMENT_COLUMNS, parse_statement
from services.exports.parquet.folder import export_parquet
from services.exports.source import PoolSource
from tests.support.deployment import Deployment
from tests.support.history import COLLECTIVES, live, open_history, some_usage
from tests.support.parquet_folder import IBIS_ON_DUCKDB, read_table
from tests.support.scene import NANO, POOL, Scene, event, open_scene

pytestmark = [pytest.mark.surface, pytest.mark.filterwarnings(IBIS_ON_DUCKDB)]

ROUND_SQL: Final = Path(__file__).parents[2] / "docs" / "examples" / "round.sql"


@pytest.fixture(scope="module")
def scene(shared_deployment: Deployment) -> Scene:
    scene = open_history(shared_deployment)
    live(scene)
    return scene


@pytest.fixture(scope="module")
def auditor(scene: Scene) -> Client:
    return scene.deployment.client("auditors/ada")


def export_to(folder: Path, client: Client) -> Path:
    export_parquet(PoolSource(client, POOL), folder)
    return folder


@pytest.fixture(scope="module")
def folder(auditor: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_to(tmp_path_factory.mktemp("exported"), auditor)


@pytest.fixture(scope="module")
def export(folder: Path) -> Export:
    return open_export(folder)


@pytest.fixture
def movements(folder: Path) -> list[tuple[int, dict[str, Any]]]:
    """(sign, event) of everything that adds or takes away, by plain loops; `at_leaf` is where it does."""
    events = {(row["leaf_index"], row["position"]): row for row in read_table(folder, "events")}
    added = [(1, {**row, "at_leaf": row["leaf_index"]}) for row in events.values() if row["accepted"]]
    taken = read_table(folder, "retractions")
    return added + [(-1, {**events[row["batch_leaf"], row["position"]], "at_leaf": row["leaf_index"]}) for row in taken]


def counted(movements: list[tuple[int, dict[str, Any]]], *keys: str) -> dict[tuple[Any, ...], list[int]]:
    """Events, units and weight by keys, in Python's integers."""
    sums: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
    for sign, each in movements:
        whole = {"share_nano": each["share_sum_nano"]}
        for share in each["shares"] if "collective" in keys else [whole]:
            found = sums[tuple({**each, **share, "pool": POOL}[key] for key in keys)]
            found[0] += sign
            found[1] += sign * each["units"]
            found[2] += sign * each["units"] * share["share_nano"]
    return dict(sums)


@pytest.mark.parametrize(
    "keys",
    [
        ("collective",), ("mode", "method"), ("platform", "month"), ("collective", "mode", "platform"), ("pool",),
        ("collective", "month", "method", "method_version"),
    ],
)  # fmt: skip
def test_usage_is_what_plain_loops_count(
    export: Export, movements: list[tuple[int, dict[str, Any]]], keys: tuple[str, ...]
) -> None:
    found = rows(usage_by(export, *keys))
    assert {tuple(row[key] for key in keys): [row["events"], row["units"], row["weight"]] for row in found} == counted(
        movements, *keys
    )


def test_what_is_unattributed_is_the_rest_of_each_event(export: Export) -> None:
    for row in rows(usage_by(export, "mode")):
        assert row["weight"] + row["unattributed"] == row["units"] * NANO


def test_usage_of_a_round_is_that_of_its_interval(
    export: Export, auditor: Client, movements: list[tuple[int, dict[str, Any]]]
) -> None:
    third = auditor.get_round(POOL, 3)
    inside = [(sign, each) for sign, each in movements if third.start <= each["at_leaf"] < third.end]
    found = rows(usage_by(export.of(POOL), "collective", round_number=3))
    assert {(row["collective"],): [row["events"], row["units"], row["weight"]] for row in found} == counted(
        inside, "collective"
    )


@pytest.mark.parametrize("keys", [("collectives",), ("mode", "mode"), ("pool", "round")])
def test_what_is_no_key_is_refused(export: Export, keys: tuple[str, ...]) -> None:
    with pytest.raises(AnalysisError, match="must be some of"):
        usage_by(export, *keys)
    with pytest.raises(AnalysisError, match="must be some of"):
        money_by(export, *keys)


def test_every_round_is_recomputed_to_the_minor_unit(export: Export, folder: Path, auditor: Client) -> None:
    figures_before = lines_before = 0
    for logged in read_table(folder, "rounds"):
        number = logged["number"]
        found = recompute_round(export, number)
        assert found.figures == {name: logged[name] for name in found.figures}
        figures_before += logged["deficit_unattributed"] > 0
        lines = parse_statement(auditor.get_statement(POOL, number))
        lines_before += any(line.deficit_before for line in lines)
        assert [{name: row[name] for name in STATEMENT_COLUMNS} for row in found.lines] == [
            {name: getattr(line, name) for name in STATEMENT_COLUMNS} for line in lines
        ]
    assert figures_before, "a history without a deficit of nobody's tests less than it should"
    assert lines_before, "a history without deficits tests less than it should"


@pytest.mark.parametrize("number", [2, 3])
def test_usage_of_a_round_is_its_table_of_weights(export: Export, auditor: Client, number: int) -> None:
    table = auditor.get_statement(POOL, number, part=STATEMENT_PART_WEIGHTS).decode().splitlines()[1:]
    keys = ("method", "method_version", "mode")
    modes = {"AI_ONLY": 1, "HUMAN_AI": 2}
    found = []
    for row in rows(usage_by(export, "collective", *keys, round_number=number)):
        place = (row["collective"], row["method"], row["method_version"], modes[row["mode"]])
        found.append(",".join(map(str, (*place, row["events"], row["weight"]))))
    for row in rows(usage_by(export, *keys, round_number=number)):
        place = ("", row["method"], row["method_version"], modes[row["mode"]])
        found.append(",".join(map(str, (*place, row["events"], row["unattributed"]))))
    assert sorted(found) == sorted(table)


def test_weights_come_with_what_they_are_of(export: Export, folder: Path) -> None:
    wanted = [row for row in read_table(folder, "registry") if row["round"] == 3]
    found = rows(round_weights(export, 3).select("collective", "status", "members", "equity_ppm"))
    assert found == [{name: row[name] for name in found[0]} for row in wanted]
    (unattributed,) = rows(round_unattributed(export, 3))
    (logged,) = [row for row in read_table(folder, "rounds") if row["number"] == 3]
    assert unattributed == {name: logged[name] for name in unattributed}


@pytest.mark.parametrize(
    "keys", [(), ("collective",), ("pool", "month"), ("mode", "method", "platform"), ("collective", "mode")]
)
def test_money_adds_up_to_what_was_posted(export: Export, auditor: Client, keys: tuple[str, ...]) -> None:
    posted = [each for each in auditor.list_rounds(POOL) if each.state == ROUND_STATE_POSTED]
    found = money_by(export, *keys).to_pylist()
    assert {row["currency"] for row in found} == {"EUR"}
    assert sum(row["attributed_minor"] for row in found) == sum(each.attributed_minor for each in posted)
    assert sum(row["commons_minor"] for row in found) == sum(each.commons_minor for each in posted)
    inner = [key for key in keys if key not in ("pool", "collective")]
    for row in found:
        assert all(row[key] is None for key in inner) or row["commons_minor"] == 0
        assert not inner or any(row[key] is not None for key in inner) or row["attributed_minor"] == 0


def test_money_by_collective_is_what_each_was_allocated(export: Export, auditor: Client) -> None:
    wanted: dict[str, list[int]] = {name: [0, 0] for name in COLLECTIVES}
    for each in auditor.list_rounds(POOL):
        if each.state == ROUND_STATE_POSTED:
            for allocation in auditor.list_allocations(POOL, each.number):
                name = allocation.collective.removeprefix("collectives/")
                wanted[name][0] += allocation.attributed_minor
                wanted[name][1] += allocation.commons_minor
    found = money_by(export, "collective").to_pylist()
    assert {row["collective"]: [row["attributed_minor"], row["commons_minor"]] for row in found} == wanted


def test_money_goes_to_the_usage_that_earned_it(deployment: Deployment, tmp_path: Path) -> None:
    scene = open_scene(deployment, policy=Policy(human_ai_ppm=3_000_000))
    whole = {"irish": NANO}
    scene.submit([event(1, shares=whole), event(2, shares=whole, mode=Mode.HUMAN_AI)], "b")
    scene.pay_in(1_000, "r")
    scene.cut("q")
    export = open_export(export_to(tmp_path, scene.operator))
    assert money_by(export, "mode").to_pylist() == [
        {"currency": "EUR", "mode": "AI_ONLY", "attributed_minor": 250, "commons_minor": 0},
        {"currency": "EUR", "mode": "HUMAN_AI", "attributed_minor": 750, "commons_minor": 0},
        {"currency": "EUR", "mode": None, "attributed_minor": 0, "commons_minor": 0},
    ]


def test_a_round_that_is_not_there_is_named(export: Export) -> None:
    with pytest.raises(AnalysisError, match="round 77: is not in the export"):
        recompute_round(export, 77)


def test_a_round_of_two_pools_wants_the_pool_named(folder: Path, tmp_path: Path) -> None:
    for file in folder.glob("*/pool=folk/*.parquet"):
        for pool in ("folk", "twin"):
            copy = tmp_path / file.parent.parent.name / f"pool={pool}" / file.name
            copy.parent.mkdir(parents=True)
            copy.write_bytes(file.read_bytes())
    export = open_export(tmp_path)
    with pytest.raises(AnalysisError, match="name the pool: folk, twin"):
        round_weights(export, 1)
    assert recompute_round(export.of("twin"), 3) == recompute_round(open_export(folder), 3)
    by_pool = {row["pool"]: row["weight"] for row in rows(usage_by(export, "pool"))}
    assert by_pool["folk"] == by_pool["twin"]


def test_weights_that_might_not_fit_are_refused_and_never_wrong(folder: Path, tmp_path: Path) -> None:
    for file in folder.glob("*/pool=folk/*.parquet"):
        copy = tmp_path / file.relative_to(folder)
        copy.parent.mkdir(parents=True)
        table = pq.ParquetFile(file).read()
        if file.parent.parent.name == "events":
            # Far beyond what the service takes in: the units of a round reach 10^18.
            place = table.schema.get_field_index("units")
            table = table.set_column(place, "units", [[10**17] * table.num_rows])
        pq.write_table(table, copy)
    export = open_export(tmp_path)
    for analysis in (round_weights, round_unattributed, recompute_round):
        with pytest.raises(AnalysisError, match=r"does not fit a DECIMAL\(38, 0\)"):
            analysis(export, 3)
    with pytest.raises(AnalysisError, match="does not fit"):
        money_by(export, "mode")


def test_the_largest_batches_fit(deployment: Deployment, tmp_path: Path) -> None:
    scene = open_scene(deployment, policy=Policy(ai_only_ppm=10_000_000))
    heavy = [event(number, shares={"irish": NANO - number, "breton": number}, units=10**9) for number in range(1, 500)]
    scene.submit(heavy, "b")
    scene.pay_in(10**15, "r")
    scene.cut("q")
    folder = export_to(tmp_path, scene.operator)
    (logged,) = read_table(folder, "rounds")
    assert recompute_round(open_export(folder), 1).figures["weight"] == logged["weight"] > 10**33
    require_same_by_sql(folder, 1)


def require_same_by_sql(folder: Path, number: int) -> int:
    """Run round.sql; the amounts that it recomputes are those of the statement. Gives their sum."""
    with duckdb.connect() as connection:
        connection.execute(f"SET VARIABLE folder = '{folder}'; SET VARIABLE pool = '{POOL}'")
        connection.execute(f"SET VARIABLE round = {number}")
        lines = connection.execute(ROUND_SQL.read_text()).fetchall()
    assert lines
    for _, attributed, commons, attributed_logged, commons_logged in lines:
        assert (attributed, commons) == (attributed_logged, commons_logged)
    return sum(line[1] + line[2] for line in lines)


def test_plain_sql_recomputes_every_round_to_the_minor_unit(folder: Path) -> None:
    bounded = {row["version"] for row in read_table(folder, "policies") if row["cap_minor"] is not None}
    for logged in read_table(folder, "rounds"):
        if logged["policy_version"] in bounded:
            with pytest.raises(duckdb.Error, match="no floor and no cap"):
                require_same_by_sql(folder, logged["number"])
        else:
            allocated = require_same_by_sql(folder, logged["number"])
            assert allocated == logged["attributed_minor"] + logged["commons_minor"]


def test_plain_sql_stops_where_a_weight_does_not_fit() -> None:
    macro = ROUND_SQL.read_text().partition("CREATE OR REPLACE TEMP MACRO divided")[2].partition(";")[0]
    with duckdb.connect() as connection:
        connection.execute("CREATE TEMP TABLE policy AS SELECT 'PLACED' AS rounding")
        connection.execute(f"CREATE TEMP MACRO divided{macro}")
        for claim, fits in ((4 * 10**36, True), (4 * 10**37, False)):
            connection.execute(
                f"CREATE OR REPLACE TEMP TABLE claims AS SELECT 'x' AS pot_of, 99::HUGEINT AS pot, place, "
                f"{claim}::HUGEINT AS claim FROM range(2) AS places(place)"
            )
            if fits:
                found = connection.execute("SELECT amount FROM divided('claims') ORDER BY place").fetchall()
                assert found == [(50,), (49,)]
            else:
                with pytest.raises(duckdb.Error, match="Overflow"):
                    connection.execute("FROM divided('claims')").fetchall()


def test_a_round_of_some_size_is_the_same_in_all_three(deployment: Deployment, tmp_path: Path) -> None:
    scene = open_history(deployment)
    usage = some_usage(7, 4_000, first_id=1, units_max=10**6)
    for start in range(0, len(usage), 1_000):
        method = "influence" if start % 2_000 else "ngram"
        scene.platform.submit_events(POOL, usage[start : start + 1_000], method, batch_id=f"b-{start}")
    scene.pay_in(987_654_321_09, "r")
    scene.cut("q")
    folder = export_to(tmp_path, scene.operator)
    (logged,) = read_table(folder, "rounds")
    found = recompute_round(open_export(folder), 1)
    assert found.figures == {name: logged[name] for name in found.figures}
    assert require_same_by_sql(folder, 1) == logged["attributed_minor"] + logged["commons_minor"]
    assert [line["amount_minor"] for line in found.lines] == [
        row["amount_minor"] for row in read_table(folder, "allocations")
    ]


def test_the_pages_example_runs(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "analysis.md").read_text()
    example = page.partition("```python\n")[2].partition("\nimport ibis")[0]
    assert "recompute_round" in example
    (tmp_path / "exported").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "docs/analysis.md", "exec"), {})


def test_the_expressions_can_be_said_in_sparks_sql(folder: Path) -> None:
    sql = ibis.to_sql(usage_by(open_export(folder), "collective"), dialect="pyspark")
    assert "EXPLODE" in sql
    assert "DECIMAL(38, 0)" in sql
