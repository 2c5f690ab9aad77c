"""Calls that are made at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from moiety import ServiceError


def at_once(*calls: Callable[[], object]) -> list[object]:
    """What calls give that are made at the same moment, or the errors of those that fail."""
    together = Barrier(len(calls))

    def made(call: Callable[[], object]) -> object:
        together.wait()
        try:
            return call()
        except ServiceError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(made, calls))
