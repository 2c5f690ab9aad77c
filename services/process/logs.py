"""Structured logs on standard error: one line for each event, with its request id if it has one."""

from __future__ import annotations

import logging
import sys
from io import StringIO
from typing import Final, TextIO

import structlog

from services import lines
from services.printing import printable, printable_lines
from services.settings import Settings

_TRACEBACKS: Final = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
"""Local variables contain keys and passwords, and are not logged."""


def _printable_values(
    _logger: structlog.types.WrappedLogger, _method: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """The event for people, in which nothing that others wrote reaches a terminal raw. JSON escapes it by itself."""
    return {name: printable(value) if isinstance(value, str) else value for name, value in event.items()}


def _printable_traceback(lines: TextIO, exc_info: structlog.types.ExcInfo) -> None:
    text = StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    lines.write(printable_lines(text.getvalue()))


class _Lines(structlog.WriteLogger):
    """Writes to standard error, under the logger's name."""

    def __init__(self, name: str) -> None:
        super().__init__(sys.stderr)
        self.name = name

    def msg(self, message: str) -> None:
        lines.write(self._file, f"{message}\n")

    debug = info = warning = error = critical = msg


def configure_logs(settings: Settings) -> None:
    """Show structlog's and the standard library's events in the same way: as JSON, or as lines for people.

    Our own do not go through the standard library, which is half of the cost of logging a call.
    """
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.log_format == "json":
        last: list[structlog.types.Processor] = [
            structlog.processors.ExceptionRenderer(_TRACEBACKS),
            structlog.processors.JSONRenderer(),
        ]
    else:
        last = [
            _printable_values,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_printable_traceback),
        ]
    structlog.configure(
        processors=[*shared, *last],
        logger_factory=_Lines,
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level)
    # What it says at INFO says nothing about the service.
    logging.getLogger("alembic").setLevel(logging.WARNING)
