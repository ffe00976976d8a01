"""The broker's process as the command line runs it. It has Docker, and no secret of any kind.

For: `casemate broker`. Not for: starting one beside a control plane (`broker_child`); that process
must not have what this one imports.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

import structlog
import uvloop

from orchestrator.profiles import load_catalogue
from orchestrator.sandboxes.broker.process import serve_connection, serve_path
from orchestrator.sandboxes.errors import SandboxFailure
from orchestrator.sandboxes.installation import installed
from orchestrator.sandboxes.settings import SandboxSettings
from orchestrator.sessions.ports import ProfileCatalogue
from orchestrator.settings import Settings
from orchestrator.setup.errors import SetupFailed
from orchestrator.telemetry.logs import configure_logs


def run_broker(settings: Settings, *, connection: int | None, say: Callable[[str], None]) -> None:
    """Serve the inherited connection until it ends, or listen until SIGTERM.

    Raises SetupFailed, SandboxFailure, BadProfiles.
    """
    configure_logs(settings.telemetry)
    structlog.contextvars.bind_contextvars(process="broker")
    catalogue = load_catalogue(settings.profiles.path, model=settings.model.default)
    if connection is None:
        work = serve_path(
            _path(settings), _sandboxes(settings), catalogue, on_ready=lambda: _tell(settings, say)
        )
    else:
        work = _serve_starter(socket.socket(fileno=connection), settings, catalogue)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


async def _serve_starter(
    connection: socket.socket, settings: Settings, catalogue: ProfileCatalogue
) -> None:
    with contextlib.suppress(SandboxFailure):  # whoever started us was told, and says it
        await serve_connection(connection, _sandboxes(settings), catalogue)


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
