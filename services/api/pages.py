"""Pages of lists: as many items as were asked for, but no more bytes than every gRPC client accepts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from google.protobuf.message import Message

from services.api.names import page_token

PAGE_BYTES: Final = 2 * 2**20
"""A page ends with the item that exceeds this: gRPC clients accept 4 MiB by default, and no item has half of that."""

T = TypeVar("T")
M = TypeVar("M", bound=Message)


def page_of(
    found: Sequence[T], limit: int, to_proto: Callable[[T], M], place: Callable[[T], tuple[object, ...]]
) -> tuple[list[M], str]:
    """Return the messages of a page and the token of the next, empty on the last.

    Args:
        found: the items that follow, at most `limit`; fewer mean that there are no more.
        limit: the most items of the page.
        to_proto: returns an item's message.
        place: returns an item's place, after which the next page starts.
    """
    messages: list[M] = []
    size = 0
    for item in found:
        message = to_proto(item)
        messages.append(message)
        size += message.ByteSize()
        if size > PAGE_BYTES:
            break
    is_last = len(messages) == len(found) < limit
    return messages, "" if is_last or not messages else page_token(*place(found[len(messages) - 1]))
