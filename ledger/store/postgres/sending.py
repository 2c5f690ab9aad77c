"""A driver's connection that sends without asking first whether it can."""

from __future__ import annotations

from typing import Any, Final, cast

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.pq.abc import PGconn
from psycopg.waiting import Ready, Wait

_TRIES_MAX: Final = 4
"""In a pipeline a statement wants to write four times at most: BEGIN, its preparation, itself, and what is left."""


class Connection(psycopg.Connection[Any]):
    """Writes as far as the socket takes it, and waits only for answers, or where much is left to write.

    psycopg asks the system, before it sends anything, whether the socket can be written to. For that it lets go of
    the interpreter, and has it back when the other threads let go of it, which takes longer than the statement: in a
    pipeline once for each, while Postgres has nothing to do. To write to a socket that is full does no harm: libpq
    then reads what has come, so that neither side waits for the other, and goes on when it is next called.
    """

    def wait(self, gen: PQGen[RV], *args: Any, **kwargs: Any) -> RV:
        """Run what the driver has to do, as the driver does, but for that."""
        try:
            wanted = next(gen)
            for _ in range(_TRIES_MAX):
                if wanted != Wait.RW:
                    break
                wanted = gen.send(Ready.W)
        except StopIteration as done:
            return cast("RV", done.value)
        return super().wait(_rest(self.pgconn, gen, wanted), *args, **kwargs)


def drain(connection: psycopg.Connection[Any]) -> None:
    """Wait until everything is written, which else is waited for with the next answer.

    Raises:
        psycopg.OperationalError: the connection is lost.
    """
    connection.wait(_drained(connection.pgconn))


def _drained(pgconn: PGconn) -> PQGen[None]:
    while pgconn.flush():
        yield Wait.RW


def _rest(pgconn: PGconn, gen: PQGen[RV], wanted: Wait) -> PQGen[RV]:
    """The rest of a generator that has begun, and waits for something.

    No answer is waited for before everything is written: it may be to what is still here.
    """
    while True:
        ready: int = Ready.NONE
        while not ready:
            ready = yield Wait.RW if wanted == Wait.R and _is_left(pgconn) else wanted
            if wanted == Wait.R:
                ready &= Ready.R
        try:
            wanted = gen.send(ready)
        except StopIteration as done:
            return cast("RV", done.value)


def _is_left(pgconn: PGconn) -> bool:
    """Whether not everything is written yet, after writing what can be."""
    try:
        return bool(pgconn.flush())
    except psycopg.OperationalError:
        return False  # the connection is lost, which the driver notices as it reads
