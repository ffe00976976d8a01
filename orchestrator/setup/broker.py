"""The broker's process as the command line runs it. It has Docker, and no secret of any kind.

For: `casemate broker`. Not for: starting one beside a control plane (`broker_child`); that process
must not have what this one imports.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog
import uvloop

from orchestrator.profiles import load_catalogue
from orchestrator.sandboxes.broker.process import serve_path, serve_starter
from orchestrator.sandboxes.errors import SandboxFailure
from orchestrator.sandboxes.installation import installed
from orchestrator.sandboxes.settings import SandboxSettings
from orchestrator.sessions.ports import ProfileCatalogue
from orchestrator.settings import Settings
from orchestrator.setup.errors import SetupFailed
from orchestrator.telemetry.logs import configure_logs


class Starter(msgspec.Struct, frozen=True, kw_only=True):
    """The control plane that started this broker: an inherited connection to it, and where it and
    who comes after it find the broker again."""

    connection: int
    listen: Path


def run_broker(settings: Settings, *, starter: Starter | None, say: Callable[[str], None]) -> None:
    """Serve whoever started it and who comes after them, or listen until SIGTERM.

    Raises SetupFailed, SandboxFailure, BadProfiles.
    """
    configure_logs(settings.telemetry)
    structlog.contextvars.bind_contextvars(process="broker")
    catalogue = load_catalogue(settings.profiles.path, model=settings.model.default)
    if starter is None:
        work = serve_path(
            _path(settings), _sandboxes(settings), catalogue, on_ready=lambda: _tell(settings, say)
        )
    else:
        work = _serve_starter(starter, settings, catalogue)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


async def _serve_starter(starter: Starter, settings: Settings, catalogue: ProfileCatalogue) -> None:
    connection = socket.socket(fileno=starter.connection)
    with contextlib.suppress(SandboxFailure):  # whoever started us was told, and says it
        await serve_starter(connection, starter.listen, _sandboxes(settings), catalogue)


def _sandboxes(settings: Settings) -> SandboxSettings:
    """Raises SlotFailure, where the installation's id cannot be had."""
    own = SandboxSettings(
        engine=settings.engine,
        slots=settings.slots,
        broker=settings.broker,
        pool=settings.pool,
    )
    settings.server.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    return installed(own, data_dir=settings.server.data_dir)


def _path(settings: Settings) -> Path:
    if settings.broker.socket is None:
        raise SetupFailed(
            "The broker does not know where to listen.",
            advice="Set CASEMATE_BROKER_SOCKET to a path, for it and for `casemate serve`.",
        )
    return settings.broker.socket


def _tell(settings: Settings, say: Callable[[str], None]) -> None:
    say(f"The broker listens at {settings.broker.socket}.")
