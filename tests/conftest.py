"""Real parts for tests: a Postgres for the run, a database of its own for each test, the service on a real socket."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import fasteners
import hypothesis
import pytest
import sqlalchemy as sa
from hypothesis.internal.conjecture import providers

from ledger.store.postgres.database import Database
from services.process.embedded import embedded_postgres
from services.process.memory import collect_less_often
from services.schema import distribute, upgrade
from tests.support.deployment import START, TEMPLATE, Deployment, SteppedClock, deployed, fresh_database
from tests.support.engines import engine_at
from tests.support.standby import own_postgres_folder

# A free port for HTTP too, in the processes that tests start as well: several runs share a machine.
os.environ.setdefault("MOIETY_HTTP_LISTEN", "127.0.0.1:0")

# The same examples in every run, and no verdict on how long they take, which on a busy machine says nothing about the
# code. `pytest --hypothesis-profile=explore tests/property` looks at others each time.
_UNTIMED: Final[dict[str, Any]] = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("moiety", derandomize=True, **_UNTIMED)
hypothesis.settings.register_profile("explore", **_UNTIMED)
hypothesis.settings.load_profile("moiety")
# Constants of whatever modules happen to be loaded would make the examples depend on the tests that ran before.
providers._get_local_constants = lambda: providers._local_constants


def pytest_collection_finish() -> None:
    """Tests and the modules that they load stay. A search for garbage that looks through them takes half a second."""
    collect_less_often()


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock(START)


@pytest.fixture(scope="session")
def data_folder() -> Iterator[Path]:
    """A folder for the embedded Postgres of the run."""
    with own_postgres_folder() as folder:
        yield folder


@pytest.fixture
def own_folder() -> Iterator[Path]:
    """A folder for a Postgres of one test's own."""
    with own_postgres_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres(data_folder: Path) -> Iterator[sa.Engine]:
    """A Postgres with a migrated template: the one of MOIETY_TEST_POSTGRES_URL, or an embedded one for this run.

    Its tables are whole, or in as many partitions as MOIETY_TEST_PARTITIONS says.
    """
    with ExitStack() as stack:
        url = os.environ.get("MOIETY_TEST_POSTGRES_URL", "")
        embedded = not url
        if embedded:
            # The first embedded Postgres that root starts on a machine adds a user, and two at once would collide.
            with fasteners.InterProcessLock(Path(tempfile.gettempdir()) / "moiety-test.lock"):
                url = stack.enter_context(embedded_postgres(data_folder / "run"))
        engine = engine_at(url, isolation_level="AUTOCOMMIT")
        if embedded:
            _spare_the_disk(engine)
        name = f"{TEMPLATE}_{os.getpid()}"
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        template = engine.url.set(database=name).render_as_string(hide_password=False)
        upgrade(template)
        if partitions := os.environ.get("MOIETY_TEST_PARTITIONS"):
            distribute(template, partitions=int(partitions))
        yield engine
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name}")


def _spare_the_disk(postgres: sa.Engine) -> None:
    """Have nothing written through to the disk: only a machine that fails would lose by it, and no test ends one.

    Most of the time that a fresh database takes is waiting for the disk.
    """
    with postgres.connect() as connection:
        for setting in ("fsync", "full_page_writes"):
            connection.exec_driver_sql(f"ALTER SYSTEM SET {setting} = off")
        connection.exec_driver_sql("SELECT pg_reload_conf()")


@pytest.fixture
def database_url(postgres: sa.Engine) -> Iterator[str]:
    """A fresh, migrated database, as its owner reaches it; the service takes its own role on it."""
    with fresh_database(postgres) as url:
        yield url


@pytest.fixture
def blank(postgres: sa.Engine) -> Iterator[str]:
    """A database with nothing in it."""
    with fresh_database(postgres, template="template1") as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The store's own way to the fresh database."""
    opened = Database(database_url, connections=8)
    yield opened
    opened.close()


@pytest.fixture
def owner(database_url: str) -> Iterator[sa.Engine]:
    """The fresh database as its owner, who may do what the service may not."""
    engine = engine_at(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def deploy(database_url: str, clock: SteppedClock) -> Iterator[Callable[..., Deployment]]:
    """Starts the service on the fresh database; more than once gives several processes' worth of it."""
    with ExitStack() as stack:
        yield lambda **overrides: stack.enter_context(deployed(database_url, clock, **overrides))


@pytest.fixture
def deployment(deploy: Callable[..., Deployment]) -> Deployment:
    """One running service on the fresh database."""
    return deploy()


@pytest.fixture(scope="module")
def shared_database_url(postgres: sa.Engine) -> Iterator[str]:
    """One database for all tests of a module that leave it as they found it: a fresh one costs most of a second."""
    with fresh_database(postgres) as url:
        yield url


@pytest.fixture(scope="module")
def shared_deployment(shared_database_url: str) -> Iterator[Deployment]:
    """The service running on the module's database."""
    with deployed(shared_database_url, SteppedClock(START)) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def shared_owner(shared_database_url: str) -> Iterator[sa.Engine]:
    """The module's database as its owner."""
    engine = engine_at(shared_database_url)
    yield engine
    engine.dispose()
