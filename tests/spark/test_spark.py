"""The same expressions on Spark give the same integers. `make spark` installs it; `make test` goes without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ibis
import pytest

from moiety.analysis import (
    Export,
    money_by,
    open_export,
    recompute_round,
    rows,
    usage_by,
)
from services.exports.parquet import folder as parquet
from services.exports.parquet.folder import export_parquet
from services.exports.source import PoolSource
from tests.support.deployment import Deployment
from tests.support.history import live, open_history
from tests.support.parquet_folder import IBIS_ON_DUCKDB, read_table
from tests.support.scene import POOL

spark_sql = pytest.importorskip("pyspark.sql", reason="pyspark is not installed; `make spark` does it")

pytestmark = [
    pytest.mark.filterwarnings(IBIS_ON_DUCKDB),
    # Py4J leaves its sockets to the collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
    # And the pipe to the JVM that it starts.
    pytest.mark.filterwarnings("ignore:unclosed file <_io.BufferedWriter:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def folder(shared_deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history in several files, as incremental exports leave them."""
    scene = open_history(shared_deployment)
    live(scene)
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "LEAVES_PER_FILE", 40)
        export_parquet(PoolSource(scene.operator, POOL), folder)
    return folder


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    builder = spark_sql.SparkSession.builder.master("local[2]").appName("moiety")
    # A laptop's worth of everything: no web page, as many tasks as cores.
    settings = {
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
    }
    session = builder.config(map=settings).getOrCreate()
    yield session
    session.stop()


@pytest.fixture(scope="module")
def on_spark(folder: Path, spark: Any) -> Export:
    return open_export(folder, ibis.pyspark.connect(spark))


@pytest.fixture(scope="module")
def on_duckdb(folder: Path) -> Export:
    return open_export(folder)


def unordered(found: list[dict[str, Any]]) -> list[str]:
    return sorted(map(repr, found))


def test_tables_are_read_alike(on_spark: Export, on_duckdb: Export) -> None:
    for name in ("policies", "rounds", "allocations", "transfers", "retractions"):
        assert unordered(rows(getattr(on_spark, name))) == unordered(rows(getattr(on_duckdb, name)))


@pytest.mark.parametrize("keys", [("collective", "mode", "method", "platform", "month"), ("mode", "method_version")])
def test_usage_is_the_same(on_spark: Export, on_duckdb: Export, keys: tuple[str, ...]) -> None:
    found = rows(usage_by(on_spark, *keys))
    assert found
    assert unordered(found) == unordered(rows(usage_by(on_duckdb, *keys)))


def test_money_is_the_same(on_spark: Export, on_duckdb: Export) -> None:
    keys = ("collective", "mode", "month")
    assert money_by(on_spark, *keys).equals(money_by(on_duckdb, *keys))


def test_weights_and_amounts_of_rounds_are_the_same(on_spark: Export, on_duckdb: Export, folder: Path) -> None:
    logged = {row["number"]: row for row in read_table(folder, "rounds")}
    # One plain, one that only takes back, one with deficits and roots, one with a floor and a cap.
    for number in (1, 2, 5, 11):
        found = recompute_round(on_spark, number)
        assert found.figures == {name: logged[number][name] for name in found.figures}
        assert found == recompute_round(on_duckdb, number)
