"""Health and metrics over HTTP: what probes and Prometheus are told, and what that costs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import psycopg
import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from ledger.errors import InvalidInputError
from ledger.store.postgres.database import Database
from moiety import Policy, Schedule
from moiety.v1.rounds_pb2 import OBJECTION_ANSWER_DISMISSED
from services.api import readiness
from services.process.embedded import embedded_postgres
from services.schema import upgrade
from services.settings import load_settings
from tests.support.books import wait_until
from tests.support.deployment import Deployment
from tests.support.http import ask
from tests.support.scene import POOL, event, open_scene
from tests.support.standby import own_postgres_folder

pytestmark = pytest.mark.surface

ROOT: Final = Path(__file__).parents[2]


def http(deployment: Deployment) -> str:
    return deployment.running.http_address


def metrics_of(deployment: Deployment, authorization: str = "") -> dict[str, float]:
    """Every sample by its name, those of several labels summed."""
    answer = ask(http(deployment), "/metrics", authorization=authorization)
    assert answer.status == 200
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


def test_a_service_that_serves_says_so(deployment: Deployment) -> None:
    assert ask(http(deployment), "/livez").text == "ok\n"
    ready = ask(http(deployment), "/readyz")
    assert (ready.status, ready.json()) == (200, {"ready": True, "problems": {}, "warnings": {}})


def test_a_database_that_only_reads_is_not_ready(deployment: Deployment, owner: sa.Engine) -> None:
    with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        name = connection.execute(sa.text("SELECT current_database()")).scalar_one()
        connection.execute(sa.text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    deployment.running.parts.database.close()
    ready = ask(http(deployment), "/readyz")
    assert (ready.status, ready.json()["problems"]) == (503, {"database": "is read-only: a standby, or set so"})
    assert ask(http(deployment), "/livez").status == 200


def test_a_schema_that_is_old_is_named(deployment: Deployment, owner: sa.Engine) -> None:
    with owner.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    ready = ask(http(deployment), "/readyz")
    assert ready.status == 503
    assert "moiety db upgrade" in ready.json()["problems"]["schema"]


def test_a_schema_that_may_not_be_used_is_not_told_as_an_old_one(deployment: Deployment, owner: sa.Engine) -> None:
    with owner.begin() as connection:
        connection.execute(sa.text("REVOKE USAGE ON SCHEMA public FROM moiety_app, public"))
    ready = ask(http(deployment), "/readyz")
    assert (ready.status, [*ready.json()["problems"]]) == (503, ["database"])
    assert "USAGE on the schema public" in ready.json()["problems"]["database"]


@pytest.mark.parametrize(
    ("table", "status", "problems"),
    [
        ("api_key", 503, {"database": "a table that every call needs is locked by another transaction"}),
        ("leaf", 503, {"database": "a table that every call needs is locked by another transaction"}),
        ("alembic_version", 200, {}),
    ],
)
def test_a_table_that_is_locked_is_a_problem_where_calls_need_it(
    deployment: Deployment, owner: sa.Engine, table: str, status: int, problems: dict[str, str]
) -> None:
    with owner.begin() as connection:
        connection.execute(sa.text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        ready = ask(http(deployment), "/readyz")
    assert (ready.status, ready.json()["problems"]) == (status, problems)


def test_commits_that_wait_for_a_synchronous_standby_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "STALLED_SECONDS", 0.1)
    with own_postgres_folder() as folder, embedded_postgres(folder) as url:
        upgrade(url)
        database = Database(url, connections=4)
        with psycopg.connect(url, autocommit=True) as admin, ThreadPoolExecutor(1) as threads:
            assert readiness.warnings(database) == {}
            admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            admin.execute("SELECT pg_reload_conf()")
            wait_until(lambda: admin.execute("SHOW synchronous_standby_names").fetchone() == ("nobody",))
            waiting = threads.submit(_write, database)
            try:
                wait_until(lambda: "replication" in readiness.warnings(database))
                assert readiness.warnings(database)["replication"].startswith("1 commits have waited")
                assert (readiness.problems(database), waiting.done()) == ({}, False)
            finally:
                admin.execute("ALTER SYSTEM RESET synchronous_standby_names")
                admin.execute("SELECT pg_reload_conf()")
            waiting.result(60)
        assert readiness.warnings(database) == {}
        database.close()


def _write(database: Database) -> None:
    with database.transaction() as connection:
        connection.exec_driver_sql("SELECT nextval('batch_number'), pg_logical_emit_message(true, 'test', '')")


def test_a_database_that_is_away_is_said_and_hides_no_metrics(
    deployment: Deployment, postgres: sa.Engine, database_url: str
) -> None:
    name = sa.engine.make_url(database_url).database
    with postgres.connect() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.exec_driver_sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    deployment.running.parts.database.close()
    try:
        ready = ask(http(deployment), "/readyz")
        assert ready.status == 503
        assert set(ready.json()["problems"]) == {"database"}
        assert "is not currently accepting connections" in ready.json()["problems"]["database"]
        found = metrics_of(deployment)
        assert found["moiety_database_up"] == 0
        assert "process_resident_memory_bytes" in found
    finally:
        with postgres.connect() as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def test_what_was_done_is_counted(deployment: Deployment) -> None:
    before = metrics_of(deployment)
    scene = open_scene(deployment)
    scene.submit([event(1), event(2), event(1)], "one")
    scene.submit([event(2), event(3)], "two")
    deployment.clock.advance(hours=1)
    found = metrics_of(deployment)
    while found["moiety_log_leaves"] == before["moiety_log_leaves"]:  # what the database said is remembered a moment
        found = metrics_of(deployment)

    def more(name: str) -> float:
        return found.get(name, 0) - before.get(name, 0)

    assert (more("moiety_intake_batches_total"), more("moiety_intake_events_total")) == (2, 3)
    assert more("moiety_intake_duplicates_total") == 2
    assert more("moiety_intake_bytes_total") > 0
    assert more("moiety_head_lock_wait_seconds_count") >= 2
    assert more("moiety_calls_total") > 5
    assert more("moiety_call_seconds_count") == more("moiety_calls_total")
    assert (found["moiety_pools"], found["moiety_database_up"]) == (2, 1)
    assert found["moiety_logs_unsigned"] == 2  # nothing signs here
    assert found["moiety_sign_lag_seconds"] == 3600  # the hour that the clock was set forward
    assert found["moiety_objections_open"] == 0
    assert found["moiety_database_connections"] >= 1
    assert POOL not in ask(http(deployment), "/metrics").text


def test_objections_are_counted_until_they_are_answered(deployment: Deployment) -> None:
    scene = open_scene(deployment, policy=Policy(review_seconds=3600))
    scene.pay_in(1000, "january")
    scene.submit([event(1)], "one")
    scene.operator.calculate_round(POOL, request_id="r")
    deployment.client("collectives/irish").object_to_round(POOL, 1, "too little")
    assert metrics_of(deployment)["moiety_objections_open"] == 1
    scene.reviewer.answer_objection(POOL, 1, "irish", OBJECTION_ANSWER_DISMISSED, "it is right")
    while found := metrics_of(deployment)["moiety_objections_open"]:  # what the database said is remembered a moment
        assert found == 1


def test_a_round_is_due_from_its_time_and_late_after_five_minutes(deployment: Deployment) -> None:
    scene = open_scene(deployment)
    scene.operator.update_schedule(POOL, Schedule(cron="0 3 * * *", time_zone="UTC"))

    def said(rounds: float) -> dict[str, float]:
        while (found := metrics_of(deployment))["moiety_rounds_due"] != rounds:  # what was said is remembered a moment
            pass
        return found

    said(0)
    deployment.clock.advance(hours=3, seconds=1)
    assert said(1)["moiety_schedules_late"] == 0
    deployment.clock.advance(minutes=6)
    while metrics_of(deployment)["moiety_schedules_late"] != 1:
        pass


def test_metrics_are_for_this_machine_or_for_whoever_has_the_token(deploy: Callable[..., Deployment]) -> None:
    guarded = deploy(metrics_token="sesame")
    assert ask(http(guarded), "/metrics").status == 401
    assert ask(http(guarded), "/metrics", authorization="Bearer sesam").status == 401
    assert metrics_of(guarded, authorization="Bearer sesame")["moiety_database_up"] == 1


def test_http_off_the_loopback_needs_tls() -> None:
    with pytest.raises(InvalidInputError) as caught:
        load_settings(http_listen="0.0.0.0:0")
    assert [violation.field for violation in caught.value.violations] == ["MOIETY_TLS_CERTIFICATE_FILE"]


def test_a_port_that_is_taken_is_said(deployment: Deployment, deploy: Callable[..., Deployment]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        deploy(http_listen=http(deployment))
    ((field, reason),) = [(found.field, found.reason) for found in caught.value.violations]
    assert field == "MOIETY_HTTP_LISTEN"
    assert "in use" in reason


def test_without_an_address_there_is_no_http(deploy: Callable[..., Deployment]) -> None:
    assert deploy(http_listen="").running.http_address == ""


@pytest.mark.parametrize("file", ["docs/watching/dashboard.json", "docs/watching/alerts.yaml"])
def test_the_dashboard_and_the_alerts_name_metrics_that_there_are(deployment: Deployment, file: str) -> None:
    open_scene(deployment)
    there = set(metrics_of(deployment))
    named = set(re.findall(r"\b(?:moiety|process)_[a-z_]+\b", (ROOT / file).read_text()))
    assert named
    assert named <= there


def test_promtool_accepts_the_alerts() -> None:
    """Where Prometheus is installed it says so itself."""
    try:
        run = subprocess.run(
            ["promtool", "check", "rules", str(ROOT / "docs/watching/alerts.yaml")], capture_output=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("promtool is not installed")
    assert run.returncode == 0, run.stdout + run.stderr
