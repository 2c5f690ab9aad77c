"""Sockets that are bound to an address, and on which nothing listens yet."""

from __future__ import annotations

import resource
import socket
import ssl
from contextlib import ExitStack, suppress
from typing import Final

from ledger.errors import InvalidInputError
from services.settings import Settings

MOST_CONNECTIONS: Final = 10_000
"""Of one way in."""

MOST_FILES: Final = 65_536


def allow_open_files() -> None:
    """Let this process open more files, where the system lets it.

    Most begin with 1,024, which connections that say nothing would soon use up.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # macOS has a lower limit than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connections_allowed(part: int) -> int:
    """How many connections one way in may have: one in `part` of the files that the process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(MOST_CONNECTIONS, soft // part) if soft != resource.RLIM_INFINITY else MOST_CONNECTIONS


def client_ca(settings: Settings) -> bytes | None:
    """Returns the certificates, in PEM, of those who issue client certificates; None where the settings name none.

    Raises:
        InvalidInputError: the file cannot be read, or has no certificates.
    """
    file, setting = settings.tls_client_ca_file, "MOIETY_TLS_CLIENT_CA_FILE"
    if file is None:
        return None
    try:
        found = file.read_bytes()
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=found.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise InvalidInputError.of(setting, "must contain certificates in PEM") from None
    except OSError as error:
        raise InvalidInputError.of(setting, f"cannot be read: {error}") from None
    return found


def bound_socket(listen: str, setting: str, *, is_shared: bool) -> socket.socket:
    """A socket at an address, `HOST:PORT`, with a free port where it says 0.

    Args:
        listen: the address.
        setting: the setting that it comes from, which an error names.
        is_shared: whether other processes may be bound to the same port.

    Raises:
        InvalidInputError: the process cannot listen there.
    """
    host, _, port = listen.rpartition(":")
    with ExitStack() as undone:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            bound = undone.enter_context(socket.socket(family, kind, protocol))
            # Connections of a server that just ended keep the port for a minute, unless this is said.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if is_shared:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            bound.bind(address)
        except OSError as error:
            raise InvalidInputError.of(setting, f"cannot listen on {listen}: {error.strerror}") from None
        undone.pop_all()
    return bound
