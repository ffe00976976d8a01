"""The composition root: the only file that names every concrete class.

`serve` puts a whole Casemate together from its settings, serves until it is told to stop, and takes
it apart in the reverse order. `open_accounts` is the part of it that the command line needs.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Self

import structlog
import uvicorn
from litestar import Litestar

from orchestrator import __version__
from orchestrator.accounts import keys
from orchestrator.accounts.events import AccountsWatcher
from orchestrator.accounts.service import Accounts
from orchestrator.api.about_routes import Edition
from orchestrator.api.application import create_api
from orchestrator.api.server import server_config
from orchestrator.gateway.credential import Credential
from orchestrator.gateway.gateway import Gateway
from orchestrator.profiles import load_catalogue
from orchestrator.protocol.control_events import UpstreamFailed, UsageMetered
from orchestrator.protocol.ids import SessionId
from orchestrator.sandboxes.installation import installed
from orchestrator.sandboxes.opening import docker_pool
from orchestrator.sandboxes.pool import Pool
from orchestrator.sandboxes.remembered_sizes import RememberedSizes
from orchestrator.sandboxes.settings import SandboxSettings
from orchestrator.sessions.clock import SystemClock
from orchestrator.sessions.ports import Ports, ProfileCatalogue
from orchestrator.sessions.service import Sessions
from orchestrator.settings import Settings
from orchestrator.storage.database import Database, open_database
from orchestrator.storage.event_log import PiccoloEventLog
from orchestrator.storage.pool_sizes import PiccoloPoolSizes
from orchestrator.storage.session_store import PiccoloSessionStore
from orchestrator.storage.sign_in_stores import PiccoloRefreshTokenStore, PiccoloSignInLinkStore
from orchestrator.storage.user_store import PiccoloUserStore
from orchestrator.telemetry.account_log import AccountLog
from orchestrator.telemetry.health_checks import HealthChecks
from orchestrator.telemetry.logs import configure_logs
from orchestrator.telemetry.metrics import Metrics
from orchestrator.telemetry.session_log import SessionLog

PAGE = Path(__file__).parent.parent / "web" / "dist"
DATABASE_FILE = "casemate.sqlite"
KEY_FILE = "signing.key"
STOPPING = (signal.SIGINT, signal.SIGTERM)

_log = structlog.get_logger("casemate")


class GatewayReports:
    """Passes on what the gateway saw to the sessions, which are made after it: they need the pool,
    and the pool needs the gateway."""

    def __init__(self) -> None:
        self.sessions: Sessions | None = None

    def metered(self, session_id: SessionId, event: UsageMetered) -> None:
        if self.sessions is not None:
            self.sessions.metered(session_id, event)

    def upstream_failed(self, session_id: SessionId, event: UpstreamFailed) -> None:
        if self.sessions is not None:
            self.sessions.upstream_failed(session_id, event)


class Server(uvicorn.Server):
    """Leaves signals to `serve`, which has sessions to end before sockets."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(settings: Settings, *, scripted: bool, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; nothing is left running when it returns.

    `scripted` says on the page that a script answers. `on_ready` is told the page's address once
    sessions can be started. Raises SandboxFailure, StorageFailed and OSError where it cannot start.
    """
    configure_logs(settings.telemetry)
    with StopSignals() as signals:
        async with whole_casemate(settings, scripted=scripted) as (api, sessions, health):
            server = Server(
                server_config(
                    api,
                    host=settings.server.host,
                    port=settings.server.port,
                    settings=settings.api,
                    shutdown_seconds=settings.server.shutdown_seconds,
                )
            )
            around = [
                asyncio.create_task(_stop(signals, server, sessions), name="stop-when-told"),
                asyncio.create_task(
                    _announce(server, health, settings.server.url, on_ready), name="announce-ready"
                ),
            ]
            try:
                await server.serve()
            finally:
                for task in around:
                    task.cancel()


@asynccontextmanager
async def whole_casemate(
    settings: Settings, *, scripted: bool
) -> AsyncIterator[tuple[Litestar, Sessions, HealthChecks]]:
    """Everything behind the door, and the door."""
    catalogue = load_catalogue(settings.profiles.path, model=settings.model.default)
    metrics = Metrics()
    reports = GatewayReports()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(_database(settings))
        signing = keys.load_or_create(settings.server.data_dir / KEY_FILE)
        accounts = _accounts(database, signing, settings, AccountLog(metrics))
        gateway = await stack.enter_async_context(
            Gateway(settings.gateway, credential=_credential(settings), watcher=reports)
        )
        pool = await stack.enter_async_context(
            docker_pool(
                installed(_sandboxes(settings), data_dir=settings.server.data_dir),
                catalogue=catalogue,
                door=gateway,
                observer=metrics,
            )
        )
        pools = RememberedSizes(pool, PiccoloPoolSizes(database))
        await pools.restore()
        sessions = Sessions(_ports(database, pool, catalogue, metrics), settings.sessions)
        reports.sessions = sessions
        await sessions.start()
        stack.push_async_callback(sessions.close)
        health = HealthChecks(database=database.ping, pools=pools.pools)
        api = create_api(
            public_url=settings.server.url,
            csrf_key=signing.csrf,
            sessions=sessions,
            accounts=accounts,
            pools=pools,
            catalogue=catalogue,
            health=health,
            metrics=metrics,
            watcher=metrics,
            edition=Edition(version=__version__, scripted_model=scripted),
            settings=settings.api,
            page_directory=PAGE,
        )
        yield api, sessions, health


@asynccontextmanager
async def open_accounts(settings: Settings) -> AsyncIterator[Accounts]:
    """The accounts alone, on the same data; safe beside a running Casemate."""
    async with _database(settings) as database:
        signing = keys.load_or_create(settings.server.data_dir / KEY_FILE)
        yield _accounts(database, signing, settings, Silence())


class Silence:
    """An AccountsWatcher for the command line, whose user sees what it does."""

    def account_event(self, _event: object) -> None: ...


def _database(settings: Settings) -> contextlib.AbstractAsyncContextManager[Database]:
    settings.server.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = Path(settings.storage.path or settings.server.data_dir / DATABASE_FILE)
    return open_database(path, settings.storage)


def _accounts(
    database: Database, signing: keys.SigningKeys, settings: Settings, watcher: AccountsWatcher
) -> Accounts:
    return Accounts(
        users=PiccoloUserStore(database),
        tokens=PiccoloRefreshTokenStore(database),
        links=PiccoloSignInLinkStore(database),
        access_key=signing.access,
        settings=settings.accounts,
        watcher=watcher,
        time=time.time,
    )


def _ports(database: Database, pool: Pool, catalogue: ProfileCatalogue, metrics: Metrics) -> Ports:
    return Ports(
        store=PiccoloSessionStore(database),
        log=PiccoloEventLog(database),
        pool=pool,
        catalogue=catalogue,
        clock=SystemClock(),
        listeners=(SessionLog(), metrics),
    )


def _sandboxes(settings: Settings) -> SandboxSettings:
    return SandboxSettings(
        engine=settings.engine, slots=settings.slots, link=settings.link, pool=settings.pool
    )


def _credential(settings: Settings) -> Credential:
    if settings.model.auth_token:
        return Credential.auth_token(settings.model.auth_token.reveal())
    return Credential.api_key(settings.model.api_key.reveal())


class StopSignals:
    """SIGINT and SIGTERM as events, until everything is taken apart: the first one asks for a good
    end, the second one for a quick one."""

    def __init__(self) -> None:
        self.first, self.second = asyncio.Event(), asyncio.Event()

    def __enter__(self) -> Self:
        self._before = {number: signal.getsignal(number) for number in STOPPING}
        for number in STOPPING:
            asyncio.get_running_loop().add_signal_handler(number, self._told)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, handler)

    def _told(self) -> None:
        (self.second if self.first.is_set() else self.first).set()


async def _stop(signals: StopSignals, server: uvicorn.Server, sessions: Sessions) -> None:
    """Sessions first, so that their people are told while their sockets are still open."""
    await signals.first.wait()
    _log.info("shutdown.begun")
    try:
        await sessions.close()
    finally:
        server.should_exit = True
    await signals.second.wait()
    server.force_exit = True


async def _announce(
    server: uvicorn.Server, health: HealthChecks, url: str, on_ready: Callable[[str], None]
) -> None:
    while not server.started or (await health.health()).status != "ok":  # noqa: ASYNC110  # uvicorn tells nobody
        await asyncio.sleep(0.05)
    _log.info("casemate.ready", url=url)
    on_ready(url)
