"""A statement file verified in the reader's browser, by nothing but the file and the deployment's public key."""

from __future__ import annotations

from hashlib import sha256

from starlette.responses import Response

from services.console.assets import VERIFIER
from services.console.visit import Visit


def show(visit: Visit) -> Response:
    """The page, for everyone: it needs no account, and sends nothing."""
    return visit.page("verify.html", digest=sha256(VERIFIER.read_bytes()).hexdigest())
