"""What a form sends over HTTP: fields, and on some pages files; bounded in bytes, fields and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final, TypeVar
from urllib.parse import parse_qsl

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from ledger.errors import InvalidInputError
from services.api.http.exchange import Exchange, GoneError, Scope
from services.console.visit import SentFile

FORM_SECONDS: Final = 20.0
FORM_BYTES: Final = 64 * 1024
"""Of a form's fields; a form with a file may have more."""

MOST_FIELDS: Final = 100
MOST_FILES: Final = 1
MULTIPART: Final = "multipart/form-data"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sent:
    """What a form sent."""

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, SentFile] = field(default_factory=dict)


async def read_form(request: Request, bytes_max: int) -> Sent:
    """Returns what a form sent; nothing where its sender went away.

    Raises:
        InvalidInputError, MessageTooLargeError: it is no form, has a field twice, or is too large or too slow.
    """
    exchange = Exchange(request.scope, request.receive, _unsent)
    is_multipart = request.headers.get("content-type", "").startswith(MULTIPART)
    try:
        body = await exchange.body(bytes_max if is_multipart else min(bytes_max, FORM_BYTES), FORM_SECONDS)
        if is_multipart:
            return await _parts(request, body)
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except GoneError:
        return Sent()
    except (ValueError, MultiPartException):
        raise InvalidInputError.of("form", "must be fields in UTF-8, as pages send them") from None
    found = Sent()
    for name, value in pairs:
        _keep(found.fields, name, _text(value))
    return found


async def throw_away(request: Request, bytes_max: int) -> None:
    """Read what a form sends and keep nothing of it: its sender hears the answer only behind what it sends.

    Raises:
        InvalidInputError: it is too slow.
    """
    size = 0
    try:
        async with asyncio.timeout(FORM_SECONDS):
            async for piece in Exchange(request.scope, request.receive, _unsent).pieces():
                size += len(piece)
                if size > bytes_max:
                    return
    except TimeoutError:
        raise InvalidInputError.of(
            "form", "did not come within %(seconds)s seconds", seconds=int(FORM_SECONDS)
        ) from None
    except GoneError:
        return


async def _parts(request: Request, body: bytes) -> Sent:
    async def pieces() -> AsyncIterator[bytes]:
        yield body

    limits = {"max_files": MOST_FILES, "max_fields": MOST_FIELDS, "max_part_size": len(body) + 1}
    parser = MultiPartParser(request.headers, pieces(), **limits)  # type: ignore[arg-type]  # it takes any iterator
    found = Sent()
    for name, value in (await parser.parse()).multi_items():
        if isinstance(value, UploadFile):
            _keep(found.files, name, SentFile(value.filename or "", await value.read()))
            await value.close()
        else:
            _keep(found.fields, name, _text(value))
    return found


def _keep(found: dict[str, T], name: str, value: T) -> None:
    """Keep a field. Who reads a form elsewhere on its way may take the first of two, and we the last."""
    if name in found:
        raise InvalidInputError.of(name[:80], "is sent more than once")
    found[name] = value


def _text(value: str) -> str:
    return value.replace("\r\n", "\n")


async def _unsent(_: Scope) -> None:
    raise GoneError
