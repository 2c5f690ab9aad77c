"""What the verbs of both clients see of the service: calls with retries and a deadline, as steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

import grpc

from moiety.errors import ServiceError
from moiety.ids import IdScheme
from moiety.patience import Patience, require_timeout
from moiety.steps import Ask, End, Metadata, Open, Pause, Receive, Steps, Stream

if TYPE_CHECKING:
    from grpc import UnaryStreamMultiCallable, UnaryUnaryMultiCallable


class _PageRequest(Protocol):
    page_token: str


class _Page(Protocol):
    next_page_token: str


Request = TypeVar("Request")
Response = TypeVar("Response")
Response_contra = TypeVar("Response_contra", contravariant=True)
PageRequest = TypeVar("PageRequest", bound=_PageRequest)
Page = TypeVar("Page", bound=_Page)
Item = TypeVar("Item")
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)

PAGE_SIZE: Final = 1_000
"""Items asked for per page: the most that the service returns."""


class Collector(Protocol[Response_contra, Result_co]):
    """What a stream of answers is collected in."""

    def take(self, answer: Response_contra) -> None:
        """Take the next answer."""

    def result(self) -> Result_co:
        """What the answers come to, once the stream is over."""


class Connection:
    """A channel with an API key, and the patience of who made it.

    Args:
        channel: a blocking or an asyncio channel: its calls are made by whoever carries the steps out.
        metadata: sent with each call.
        timeout_seconds: the most that a call may take, its repetitions included.
    """

    def __init__(self, channel: Callable[[], grpc.Channel], metadata: Metadata, timeout_seconds: float) -> None:
        require_timeout(timeout_seconds)
        self._channel = channel
        self.metadata = metadata
        self.timeout_seconds = timeout_seconds
        self.id_schemes: dict[tuple[str, str | None], IdScheme] = {}
        """Of pools and platforms, those that are fixed."""

    @property
    def channel(self) -> grpc.Channel:
        """The channel, which an asyncio client opens only where its event loop runs."""
        return self._channel()

    def unary(
        self,
        method: UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        repeat: bool,
        patience: Patience | None = None,
    ) -> Steps[Response]:
        """Make a call; again where it fails in a way that may pass and `repeat` says that this is safe.

        Raises:
            ServiceError: the service did not answer with OK.
        """
        patience = patience or Patience(self.timeout_seconds)
        while True:
            try:
                answer: Response = yield Ask(method, request, patience.seconds_left(), self.metadata)
                return answer
            except ServiceError as error:
                if not repeat:
                    raise
                seconds = patience.pause_after(error)
            yield Pause(seconds)

    def pages(
        self,
        method: UnaryUnaryMultiCallable[PageRequest, Page],
        request: PageRequest,
        items: Callable[[Page], Iterable[Item]],
    ) -> PagedCall[PageRequest, Page, Item]:
        """Return the items of all pages, each page asked for when it is needed."""
        return PagedCall(self, method, request, items)

    def read_stream(
        self,
        method: UnaryStreamMultiCallable[Request, Response],
        request: Request,
        collector: Callable[[], Collector[Response, Result]],
    ) -> Steps[Result]:
        """Collect a stream of answers. It starts afresh, with a new collector, where it breaks in a way that may pass.

        A stream takes as long as there is work; `timeout_seconds` bounds how long it is begun again.

        Raises:
            ServiceError: the service did not answer with OK.
        """
        patience: Patience | None = None
        while True:
            collected = collector()
            stream: Stream = yield Open(method, request, self.metadata)
            try:
                while (answer := (yield Receive(stream, None))) is not End.OF_STREAM:
                    collected.take(answer)
                return collected.result()
            except ServiceError as error:
                patience = patience or Patience(self.timeout_seconds)
                seconds = patience.pause_after(error)
            finally:
                stream.close()
            yield Pause(seconds)


class PagedCall(Generic[PageRequest, Page, Item]):
    """A list of the service, page by page."""

    def __init__(
        self,
        connection: Connection,
        method: UnaryUnaryMultiCallable[PageRequest, Page],
        request: PageRequest,
        items: Callable[[Page], Iterable[Item]],
    ) -> None:
        self._connection = connection
        self._method = method
        self._request = request
        self._items = items
        self.is_over = False

    def next_page(self) -> Steps[Sequence[Item]]:
        """Ask for the next page.

        Raises:
            ServiceError: the service did not answer with OK.
        """
        page = yield from self._connection.unary(self._method, self._request, repeat=True)
        self._request.page_token = page.next_page_token
        self.is_over = not page.next_page_token
        return list(self._items(page))

    def close(self) -> None:
        """Nothing is open between pages."""
