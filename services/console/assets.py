"""Files that pages load: kept in memory, named by their content, and compressed once."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

import audit

FOLDER: Final = Path(__file__).parent / "static"

VERIFIER: Final = Path(audit.__file__).parent / "verify.mjs"
"""What verifies statement files in a browser: the audit's own file, served as it is."""

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent."""

    content_type: str
    body: bytes
    compressed: bytes
    """By gzip; empty where that gains nothing."""


@cache
def assets() -> dict[str, Asset]:
    """Every file by its path."""
    return {asset_path(file.name): _asset(file) for file in _files()}


def asset_path(name: str) -> str:
    """Returns the path of a file by its name. It changes with any of the files, so that one may name another."""
    return f"/static/{_version()}/{name}"


@cache
def _version() -> str:
    digest = sha256()
    for file in _files():
        digest.update(sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _files() -> list[Path]:
    return sorted(file for file in [*FOLDER.iterdir(), VERIFIER] if file.suffix in _TYPES)


def _asset(file: Path) -> Asset:
    body = file.read_bytes()
    compressed = gzip.compress(body, mtime=0)
    return Asset(_TYPES[file.suffix], body, compressed if len(compressed) < len(body) * 9 // 10 else b"")
