"""The SDK's verbs on this process's own handlers: what an export reads, it reads with its caller's rights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import grpc

from moiety.client import AllVerbs
from moiety.connection import Connection
from moiety.verbs.base import Blocking
from services.access.permissions import admit_also
from services.api.contract import Method

_PATIENCE_SECONDS: Final = 60.0


class Inside(Blocking, AllVerbs):
    """Every verb, as whoever makes the call that is under way. Errors are the handlers' own."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        channel: Any = _Channel(methods)
        super().__init__(Connection(lambda: cast("grpc.Channel", channel), (), _PATIENCE_SECONDS))


class _Channel:
    """What stubs make calls on, where there is no network between."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self._methods = methods

    def unary_unary(self, path: str, **_: Any) -> Any:
        def call(request: Any, **_: Any) -> Any:
            admit_also(path)
            return self._methods[path].answer(request, None)

        return call

    def unary_stream(self, path: str, **_: Any) -> Any:
        def call(request: Any, **_: Any) -> _Answers:
            admit_also(path)
            return _Answers(self._methods[path].answer(request, None))

        return call

    stream_stream = unary_stream


class _Answers:
    """A stream of answers, as gRPC's."""

    def __init__(self, answers: Iterator[Any]) -> None:
        self._answers = answers

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._answers)

    def cancel(self) -> None:
        """End it."""
        if close := getattr(self._answers, "close", None):
            close()
