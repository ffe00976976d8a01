"""Structured logs: one line per event, named `noun.verb_past`, with its fields, without secrets.

Libraries that log the standard way (uvicorn, aiodocker, asyncio) come out in the same form.
"""

import logging
import sys
from typing import Any, TextIO

import structlog

from orchestrator.telemetry.redaction import redact
from orchestrator.telemetry.settings import TelemetrySettings

QUIET_LIBRARIES = (
    "uvicorn",
    "piccolo",
    "aiosqlite",
    "websockets",
    "aiohttp.access",
    "httpx",
)
"""They say much that our own events say better: only their warnings are written."""


def configure_logs(settings: TelemetrySettings, *, stream: TextIO | None = None) -> None:
    """Call once, at the start. Writes to standard error unless told otherwise."""
    out = stream or sys.stderr
    shared = _shared_processors()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=_last_processors(settings, out),
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name in QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)


def _shared_processors() -> list[Any]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _last_processors(settings: TelemetrySettings, out: TextIO) -> list[Any]:
    last: list[Any] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.StackInfoRenderer(),
    ]
    if settings.log_format == "console" or (settings.log_format == "auto" and out.isatty()):
        renderer = structlog.dev.ConsoleRenderer(
            colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        return [*last, structlog.processors.format_exc_info, redact, renderer]
    return [
        *last,
        structlog.processors.format_exc_info,
        redact,
        structlog.processors.JSONRenderer(default=repr),
    ]
