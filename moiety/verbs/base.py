"""What the verbs of all services have in common, and how one definition of a verb serves both clients."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import MethodType
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar, overload

from moiety import awaiting, blocking
from moiety.connection import Connection
from moiety.steps import Pages, Steps

P = ParamSpec("P")
Result = TypeVar("Result")
Item = TypeVar("Item")


class Verbs:
    """Verbs over a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection


class Blocking:
    """A client whose verbs give results, and whose lists are iterators."""

    run_steps = staticmethod(blocking.run)
    each_item = staticmethod(blocking.each)


class Awaited:
    """A client whose verbs are awaited, and whose lists are asynchronous iterators."""

    run_steps = staticmethod(awaiting.run)
    each_item = staticmethod(awaiting.each)


class verb(Generic[P, Result]):  # noqa: N801 - a decorator
    """Make a verb of a function that gives its steps: a method of `Blocking` clients and of `Awaited` ones."""

    def __init__(self, steps: Callable[Concatenate[Any, P], Steps[Result]]) -> None:
        def method(client: Any, *args: P.args, **kwargs: P.kwargs) -> Any:
            return client.run_steps(steps(client, *args, **kwargs))

        self._method = _described(method, steps)

    @overload
    def __get__(self, client: None, owner: type | None = None) -> Callable[..., Any]: ...
    @overload
    def __get__(self, client: Blocking, owner: type | None = None) -> Callable[P, Result]: ...
    @overload
    def __get__(self, client: Awaited, owner: type | None = None) -> Callable[P, Coroutine[Any, Any, Result]]: ...
    def __get__(self, client: Any, owner: type | None = None) -> Callable[..., Any]:
        """The verb as a method of a client."""
        return self._method if client is None else MethodType(self._method, client)


class listing(Generic[P, Item]):  # noqa: N801 - a decorator
    """Make a verb of a function that gives the pages of a list."""

    def __init__(self, pages: Callable[Concatenate[Any, P], Pages[Item]]) -> None:
        def method(client: Any, *args: P.args, **kwargs: P.kwargs) -> Any:
            return client.each_item(pages(client, *args, **kwargs))

        self._method = _described(method, pages)

    @overload
    def __get__(self, client: None, owner: type | None = None) -> Callable[..., Any]: ...
    @overload
    def __get__(self, client: Blocking, owner: type | None = None) -> Callable[P, Iterator[Item]]: ...
    @overload
    def __get__(self, client: Awaited, owner: type | None = None) -> Callable[P, AsyncIterator[Item]]: ...
    def __get__(self, client: Any, owner: type | None = None) -> Callable[..., Any]:
        """The verb as a method of a client."""
        return self._method if client is None else MethodType(self._method, client)


def _described(method: Callable[..., Any], steps: Callable[..., Any]) -> Callable[..., Any]:
    """The method under the name, signature and docstring of the function that it carries out."""
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(method, name, getattr(steps, name))
    vars(method)["__signature__"] = inspect.signature(steps).replace(return_annotation=inspect.Signature.empty)
    return method


class Joined:
    """Chunks of bytes, joined."""

    def __init__(self) -> None:
        self._joined = bytearray()

    def take(self, answer: Any) -> None:
        """Take the next chunk."""
        self._joined += answer.chunk

    def result(self) -> bytes:
        """All of them."""
        return bytes(self._joined)


def pool_name(pool: str) -> str:
    """The resource name of a pool, from its id."""
    return f"pools/{pool}"


REGISTRY: Final = "registry"
"""Names the deployment's own log where a verb takes a log; no pool may have this id."""


def log_name(log: str) -> str:
    """The resource name of what has a log: a pool, from its id, or the registry."""
    return log if log == REGISTRY else pool_name(log)


def round_name(pool: str, number: int) -> str:
    """The resource name of a round, from its pool's id and its number."""
    return f"pools/{pool}/rounds/{number}"
