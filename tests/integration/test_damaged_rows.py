"""A call that meets what somebody changed in the database says so, and never that the service is at fault."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
import sqlalchemy as sa
from grpc import StatusCode
from sqlalchemy.dialects import postgresql as pg

from ledger.store.desk import tables as desk
from ledger.store.tables import metadata
from services.access.permissions import PERMITTED
from services.console import routes
from tests.support.reading import Everything, Reader, everything
from tests.support.reading_calls import NOT_HERE, OF_THE_SCENE, READING, calls
from tests.support.reading_pages import BY_FORM, PAGES, downloads, pages
from tests.support.reading_pages import NOT_HERE as PAGES_NOT_HERE
from tests.support.reading_pages import OF_THE_SCENE as OF_THE_SCENE_S_PAGES
from tests.support.wire import Wire

pytestmark = pytest.mark.surface

MEANT: Final = {
    StatusCode.DATA_LOSS, StatusCode.NOT_FOUND, StatusCode.FAILED_PRECONDITION, StatusCode.UNAUTHENTICATED,
    StatusCode.PERMISSION_DENIED, StatusCode.ABORTED,
}  # fmt: skip
"""That something is damaged, or what is said of something that is not there or is otherwise than asked for."""

FLIPPED: Final = 'set_byte("{0}", length("{0}") / 2, get_byte("{0}", length("{0}") / 2) # 1)'


@pytest.fixture(scope="module")
def scene(shared_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    with everything(shared_database_url, tmp_path_factory.mktemp("damaged") / "payee-key") as found:
        yield found


@pytest.fixture(scope="module")
def readers(scene: Everything) -> Iterator[tuple[Reader, Reader]]:
    """Who makes calls, and who opens pages and fetches downloads; both ask once before anything is damaged."""
    with Wire(scene.deployment.address, scene.deployment.key("operators/olive")) as wire:
        questions = [*pages(scene.deployment, scene.proposed), *downloads(scene.deployment)]
        yield Reader(list(calls(scene.deployment, scene.proposed, wire)), scene.sent), Reader(questions, scene.sent)


@pytest.fixture
def caller(readers: tuple[Reader, Reader]) -> Reader:
    return readers[0]


@pytest.fixture
def visitor(readers: tuple[Reader, Reader]) -> Reader:
    return readers[1]


@pytest.fixture(scope="module", autouse=True)
def bytes_as_text(shared_owner: sa.Engine) -> None:
    with shared_owner.begin() as connection:
        connection.exec_driver_sql("CREATE CAST (bytea AS text) WITHOUT FUNCTION")


VALUES: Final[dict[type[Any], list[str]]] = {
    sa.ARRAY: ["ARRAY[NULL]::text[]"],
    sa.Text: ["'\\xff00'::bytea::text", "{column} || 'x'"],
    sa.LargeBinary: ["'\\xff00'::bytea"],
    sa.DateTime: ["'infinity'", "'9999-12-31'"],
    sa.Date: ["'infinity'"],
    sa.JSON: ["'[1]'"],
    sa.SmallInteger: ["32767"],
    sa.BigInteger: ["9223372036854775807"],
    sa.Integer: ["-1"],
    sa.Numeric: ["'NaN'"],
    pg.UUID: ["gen_random_uuid()"],
    sa.Boolean: ["NOT {column}"],
}
"""What columns are set to besides NULL, by their type: what it can have, and none of ours has."""


def damages(column: sa.Column[Any]) -> list[str]:
    found = next(values for kind, values in VALUES.items() if isinstance(column.type, kind))
    return ["NULL", *(value.format(column=f'"{column.name}"') for value in found)]


def name_of(table: sa.Table) -> str:
    return ".".join(f'"{part}"' for part in (table.schema, table.name) if part)


class Damaged:
    """A table that has no constraints for a while, and then the rows that it had."""

    def __init__(self, owner: sa.Connection, table: sa.Table) -> None:
        self._owner, self._name = owner, name_of(table)
        drops = [f"DROP CONSTRAINT IF EXISTS {table.primary_key.name}"]
        drops += [
            f"DROP CONSTRAINT IF EXISTS {each.name}" for each in table.constraints if each is not table.primary_key
        ]
        drops += [f'ALTER "{each.name}" DROP IDENTITY IF EXISTS' for each in table.columns if each.identity]
        drops += [f'ALTER "{each.name}" DROP NOT NULL' for each in table.columns if not each.nullable]
        self._do(f"ALTER TABLE {self._name} {', '.join(drops)}", f"CREATE TABLE kept_rows AS TABLE {self._name}")
        self._do(*(f"DROP INDEX IF EXISTS {each.name}" for each in table.indexes if each.unique))

    def set(self, column: sa.Column[Any], value: str) -> None:
        self._do(f'UPDATE {self._name} SET "{column.name}" = {value}')

    def restore(self) -> None:
        self._do(f"TRUNCATE {self._name}", f"INSERT INTO {self._name} OVERRIDING SYSTEM VALUE TABLE kept_rows")

    def end(self) -> None:
        self._do("DROP TABLE kept_rows")

    def _do(self, *statements: str) -> None:
        with self._owner.begin():
            for statement in statements:
                self._owner.exec_driver_sql(statement)


@pytest.fixture
def damaged(request: pytest.FixtureRequest, shared_owner: sa.Engine) -> Iterator[Damaged]:
    with shared_owner.connect() as connection:
        found = Damaged(connection, request.param)
        yield found
        found.end()


def found_wrong(
    damaged: Damaged, table: sa.Table, reader: Reader, values: Callable[[sa.Column[Any]], list[str]]
) -> dict[tuple[str, str, str], str]:
    """The answers that mean something else, by column, value and question."""
    wrong = {}
    for column in table.columns:
        for value in values(column):
            damaged.set(column, value)
            for name, answer, _ in reader.asked(table.name, column.name):
                if isinstance(answer, StatusCode) and answer not in MEANT:
                    wrong[column.name, value, name] = answer.name
            damaged.restore()
    return wrong


ALL: Final = [*metadata.sorted_tables, *desk.metadata.sorted_tables]


def test_every_reading_call_is_made_here() -> None:
    methods = {method.removeprefix("/moiety.v1.") for method in PERMITTED}
    found = {each for each in methods if re.search("/(Get|List|Find|Preview|Replay|Watch)", each)}
    assert found == READING.keys() | OF_THE_SCENE | NOT_HERE


def test_every_page_that_reads_is_opened_here() -> None:
    opened = {path.partition("?")[0] for paths in PAGES.values() for path in paths}
    patterns = {page.path: re.sub(r"{\w+}", "[^/]+", page.path) for page in routes.PAGES if page.show}
    found = {path for path, pattern in patterns.items() if any(re.fullmatch(pattern, each) for each in opened)}
    assert patterns.keys() - found == OF_THE_SCENE_S_PAGES | PAGES_NOT_HERE


@pytest.mark.parametrize(("damaged", "table"), [(each, each) for each in ALL], ids=str, indirect=["damaged"])
def test_no_call_takes_what_was_changed_for_its_caller_s_fault_or_its_own(
    damaged: Damaged, table: sa.Table, caller: Reader
) -> None:
    assert found_wrong(damaged, table, caller, damages) == {}


@pytest.mark.parametrize(("damaged", "table"), [(each, each) for each in ALL], ids=str, indirect=["damaged"])
def test_no_page_and_no_download_takes_it_so_either(damaged: Damaged, table: sa.Table, visitor: Reader) -> None:
    """Of what calls fail over they fail too; so each column has but the strangest value that calls may let pass."""
    assert found_wrong(damaged, table, visitor, lambda column: damages(column)[-1:]) == {}


HASHED: Final = {
    "body": ("bytes", set[str]()),
    "account_details": ("sealed", set[str]()),
    "contact": ("salt", set[str]()),
    "node": (
        "hash",
        {
            "AuditService/GetConsistencyProof", "RoundsService/GetStatementFile",
            "operators/olive /pools/folk/rounds/2/statement.json?collective=irish",
        },
    ),
}  # fmt: skip
"""A column of what has a hash elsewhere, and the questions whose answers are proofs as they are."""

VERDICTS: Final = {"AuditService/ReplayRound", *(f"POST {path}" for path in BY_FORM)}
"""What says itself that something does not hold."""


@pytest.mark.parametrize(
    ("damaged", "table"), [(each, each) for each in ALL if each.name in HASHED], ids=str, indirect=["damaged"]
)
def test_what_has_a_hash_is_never_given_otherwise(
    damaged: Damaged, table: sa.Table, caller: Reader, visitor: Reader
) -> None:
    column, as_they_are = HASHED[table.name]
    damaged.set(table.c[column], f'CASE length("{column}") WHEN 0 THEN "{column}" ELSE {FLIPPED.format(column)} END')
    found = [*caller.asked(table.name), *visitor.asked(table.name)]
    damaged.restore()
    assert any(answer is StatusCode.DATA_LOSS for _, answer, _ in found)
    otherwise = {method for method, answer, sound in found if answer not in (sound, *MEANT)}
    assert otherwise - VERDICTS == as_they_are
