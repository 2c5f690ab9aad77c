"""Cuts connections off in time: a socket's timeout is of each read, and a byte now and then would never meet it."""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Event, Timer


def cut_off_after(seconds: float, connected: socket.socket, over: Event | None = None) -> Timer:
    """Returns a timer, which has begun, that ends a connection whatever is being waited for; it can be cancelled.

    A header or a body that is cut off may read as one that ended: what came counts only where `over` is not set.

    Args:
        seconds: how long it may last from now on.
        connected: what is cut off. Of TLS either the socket that was wrapped, or a duplicate of the one before.
        over: is set first.
    """
    timer = Timer(max(0.0, seconds), _cut_off, (connected, over or Event()))
    timer.daemon = True
    timer.start()
    return timer


def _cut_off(connected: socket.socket, over: Event) -> None:
    over.set()
    with suppress(OSError):  # it ended just now
        # That of the descriptor, since an SSLSocket goes on in plain text after its own.
        socket.socket.shutdown(connected, socket.SHUT_RDWR)
