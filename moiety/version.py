"""The version of the SDK and of the server, which are released together. It is only here."""

from __future__ import annotations

from typing import Final

__version__: Final = "0.2.0"
