"""The composition root: the only file that names every concrete class.

`serve` puts a whole Casemate together from its settings, serves until it is told to stop, and takes
it apart in the reverse order. `open_accounts` is the part of it that the command line needs.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import structlog
import uvicorn
from litestar import Litestar

from orchestrator import __version__
from orchestrator.accounts import keys
from orchestrator.accounts.audit_anchor import FileAnchor
from orchestrator.accounts.audit_log import AuditLog
from orchestrator.accounts.events import AccountsWatcher
from orchestrator.accounts.service import Accounts
from orchestrator.api.about_routes import Edition
from orchestrator.api.application import create_api
from orchestrator.api.server import server_config
from orchestrator.gateway.credential import Credential
from orchestrator.gateway.egress.network import Network
from orchestrator.gateway.egress.proxy import EgressProxy
from orchestrator.gateway.egress.rules import injected_hosts
from orchestrator.gateway.gateway import Gateway
from orchestrator.gateway.notices import GatewayWatcher
from orchestrator.profiles import load_catalogue
from orchestrator.protocol.chat import Notice
from orchestrator.protocol.control_events import EgressRefused, UpstreamFailed, UsageMetered
from orchestrator.protocol.ids import ProfileName, SessionId
from orchestrator.sandboxes.broker.client import BrokerClient, Dial
from orchestrator.sandboxes.host_memory import ProcHostMemory
from orchestrator.sandboxes.installation import client_of, installed
from orchestrator.sandboxes.opening import sandbox_pool
from orchestrator.sandboxes.pool import Pool
from orchestrator.sandboxes.ports import GatewayDoor, PoolObserver
from orchestrator.sandboxes.remembered_sizes import RememberedSizes
from orchestrator.sandboxes.settings import SandboxSettings
from orchestrator.sessions.clock import SystemClock
from orchestrator.sessions.ports import BlobStore, Ports, ProfileCatalogue, SessionListener
from orchestrator.sessions.refused_hosts import RefusedHosts
from orchestrator.sessions.service import Sessions
from orchestrator.settings import Settings
from orchestrator.stop_signals import StopSignals
from orchestrator.storage.audit_store import PiccoloAuditStore
from orchestrator.storage.blobs import open_blobs
from orchestrator.storage.checkpoint_store import PiccoloCheckpointStore
from orchestrator.storage.database import Database, open_database, sqlite_path
from orchestrator.storage.event_log import PiccoloEventLog
from orchestrator.storage.pool_sizes import PiccoloPoolSizes
from orchestrator.storage.refused_host_store import PiccoloRefusedHostStore
from orchestrator.storage.session_store import PiccoloSessionStore
from orchestrator.storage.sign_in_stores import PiccoloRefreshTokenStore, PiccoloSignInLinkStore
from orchestrator.storage.transcript_store import PiccoloTranscriptStore
from orchestrator.storage.user_store import PiccoloUserStore
from orchestrator.telemetry.account_log import AccountLog
from orchestrator.telemetry.audit_watchers import AccountAudit, EgressAudit, SessionAudit
from orchestrator.telemetry.health_checks import HealthChecks
from orchestrator.telemetry.logs import configure_logs
from orchestrator.telemetry.metrics import Metrics
from orchestrator.telemetry.session_log import SessionLog

PAGE = Path(__file__).parent.parent / "web" / "dist"
KEY_FILE = "signing.key"
AUDIT_KEY_FILE = "audit.key"
AUDIT_HEAD_FILE = "audit.head"

_log = structlog.get_logger("casemate")


class Records(msgspec.Struct, frozen=True, kw_only=True):
    """What is written down of whole Casemate, beside sessions and accounts."""

    audit: AuditLog
    egress: EgressAudit
    refused_hosts: RefusedHosts


class GatewayReports:
    """Passes on what the gateway saw to the sessions, which are made after it: they need the pool,
    and the pool needs the gateway."""

    def __init__(self, records: "Records", metrics: Metrics) -> None:
        self.sessions: Sessions | None = None
        self._records = records
        self._metrics = metrics

    def metered(self, session_id: SessionId, event: UsageMetered) -> None:
        if self.sessions is not None:
            self.sessions.metered(session_id, event)

    def upstream_failed(self, session_id: SessionId, event: UpstreamFailed) -> None:
        if self.sessions is not None:
            self.sessions.upstream_failed(session_id, event)

    def upstream_state(self, *, is_open: bool, sentence: str, until: str | None) -> None:
        self._metrics.upstream_state(is_open=is_open)
        if self.sessions is None:
            return
        if is_open:
            self.sessions.notify(Notice(tag="upstream_down", sentence=sentence, until=until))
        else:
            self.sessions.withdraw("upstream_down")

    def egress_refused(
        self, session_id: SessionId, profile: ProfileName, event: EgressRefused
    ) -> None:
        if self.sessions is not None:
            self.sessions.egress_refused(session_id, event)
        self._records.refused_hosts.add(profile, event)
        self._records.egress.refused(session_id, profile, event)
        self._metrics.egress_refused(profile, tag=event.tag, count=event.count)


class Server(uvicorn.Server):
    """Leaves signals to `serve`, which has sessions to end before sockets."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    settings: Settings,
    *,
    scripted: bool,
    dial: Dial,
    on_ready: Callable[[str], None],
    network: Network | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; nothing is left running when it returns.

    `scripted` says on the page that a script answers. `dial` leads to the broker. `on_ready` is
    told the page's address once sessions can be started. `network` is what the egress proxy
    reaches: the machine's own, unless a test brings another. Raises SandboxFailure, StorageFailed
    and OSError where it cannot start.
    """
    configure_logs(settings.telemetry)
    with StopSignals() as signals:
        async with whole_casemate(settings, scripted=scripted, dial=dial, network=network) as (
            api,
            sessions,
            health,
        ):
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
                asyncio.create_task(_hurry(signals, server, sessions), name="hurry-when-told"),
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
    settings: Settings, *, scripted: bool, dial: Dial, network: Network | None = None
) -> AsyncIterator[tuple[Litestar, Sessions, HealthChecks]]:
    """Everything behind the door, and the door."""
    catalogue = load_catalogue(settings.profiles.path, model=settings.model.default)
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(_database(settings))
        blobs = await stack.enter_async_context(
            open_blobs(settings.blobs, data_dir=settings.server.data_dir)
        )
        records = await stack.enter_async_context(_records(database, settings))
        reports = GatewayReports(records, metrics)
        signing = keys.load_or_create(settings.server.data_dir / KEY_FILE)
        watcher = AccountLog(AccountAudit(records.audit, after=metrics))
        accounts = _accounts(database, signing, settings, watcher)
        gateway = await stack.enter_async_context(_gateway(settings, catalogue, reports, network))
        broker, pool = await stack.enter_async_context(
            _brokered_pool(settings, dial=dial, catalogue=catalogue, door=gateway, observer=metrics)
        )
        pools = RememberedSizes(pool, PiccoloPoolSizes(database))
        await pools.restore()
        sessions = Sessions(
            _ports(database, blobs, pool, catalogue, metrics, SessionAudit(records.audit)),
            settings.sessions,
            files=settings.files,
        )
        reports.sessions = sessions
        await sessions.start()
        stack.push_async_callback(sessions.close)
        health = HealthChecks(
            database=database.ping,
            database_kind=database.kind,
            pools=pools.pools,
            broker=lambda: broker.problem,
            upstream=lambda: gateway.problem,
        )
        api = create_api(
            public_url=settings.server.url,
            csrf_key=signing.csrf,
            sessions=sessions,
            accounts=accounts,
            pools=pools,
            catalogue=catalogue,
            health=health,
            metrics=metrics,
            audit=records.audit,
            refused_hosts=records.refused_hosts,
            watcher=metrics,
            edition=Edition(version=__version__, scripted_model=scripted),
            settings=settings.api,
            page_directory=PAGE,
        )
        yield api, sessions, health


@asynccontextmanager
async def open_accounts(settings: Settings) -> AsyncIterator[Accounts]:
    """The accounts alone, on the same data; safe beside a running Casemate."""
    async with _database(settings) as database, audit_log(database, settings) as audit:
        signing = keys.load_or_create(settings.server.data_dir / KEY_FILE)
        yield _accounts(database, signing, settings, AccountAudit(audit, after=Silence()))


@asynccontextmanager
async def open_audit(settings: Settings) -> AsyncIterator[AuditLog]:
    """The audit log alone, on the same data; safe beside a running Casemate."""
    async with _database(settings) as database, audit_log(database, settings) as audit:
        yield audit


def audit_log(database: Database, settings: Settings) -> AuditLog:
    data_dir = settings.server.data_dir
    return AuditLog(
        PiccoloAuditStore(database),
        key=keys.load_or_create_audit_key(data_dir / AUDIT_KEY_FILE),
        anchor=FileAnchor(settings.audit.head_path or data_dir / AUDIT_HEAD_FILE),
        users=PiccoloUserStore(database),
        settings=settings.audit,
        now=SystemClock().now,
    )


@asynccontextmanager
async def _records(database: Database, settings: Settings) -> AsyncIterator[Records]:
    hosts = RefusedHosts(PiccoloRefusedHostStore(database), now=SystemClock().now)
    async with (
        audit_log(database, settings) as audit,
        hosts as refused_hosts,
        EgressAudit(audit) as egress,
    ):
        yield Records(audit=audit, egress=egress, refused_hosts=refused_hosts)


class Silence:
    """An AccountsWatcher for the command line, whose user sees what it does."""

    def account_event(self, _event: object) -> None: ...


def _database(settings: Settings) -> contextlib.AbstractAsyncContextManager[Database]:
    settings.server.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = sqlite_path(settings.storage, data_dir=settings.server.data_dir)
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


def _gateway(
    settings: Settings,
    catalogue: ProfileCatalogue,
    watcher: GatewayWatcher,
    network: Network | None,
) -> Gateway:
    return Gateway(
        settings.gateway,
        credential=_credential(settings),
        watcher=watcher,
        egress=_egress(settings, catalogue, watcher, network),
    )


@asynccontextmanager
async def _brokered_pool(
    settings: Settings,
    *,
    dial: Dial,
    catalogue: ProfileCatalogue,
    door: GatewayDoor,
    observer: PoolObserver,
) -> AsyncIterator[tuple[BrokerClient, Pool]]:
    own = SandboxSettings(engine=settings.engine, link=settings.link, pool=settings.pool)
    client = client_of(installed(own, data_dir=settings.server.data_dir).engine.instance)
    async with (
        BrokerClient(dial, settings.broker, client=client) as broker,
        sandbox_pool(own, broker=broker, catalogue=catalogue, door=door, observer=observer) as pool,
    ):
        yield broker, pool


def _egress(
    settings: Settings,
    catalogue: ProfileCatalogue,
    watcher: GatewayWatcher,
    network: Network | None,
) -> EgressProxy:
    def hosts() -> frozenset[str]:
        return frozenset().union(*(injected_hosts(p.egress) for p in catalogue.profiles()))

    return EgressProxy(settings.egress, watcher=watcher, network=network, injected_hosts=hosts)


def _ports(
    database: Database,
    blobs: BlobStore,
    pool: Pool,
    catalogue: ProfileCatalogue,
    metrics: Metrics,
    *listeners: SessionListener,
) -> Ports:
    return Ports(
        store=PiccoloSessionStore(database),
        log=PiccoloEventLog(database),
        pool=pool,
        catalogue=catalogue,
        clock=SystemClock(),
        transcripts=PiccoloTranscriptStore(database),
        checkpoints=PiccoloCheckpointStore(database),
        blobs=blobs,
        host=ProcHostMemory(),
        listeners=(SessionLog(), metrics, *listeners),
        on_step=metrics.step_taken,
    )


def _credential(settings: Settings) -> Credential:
    if settings.model.auth_token:
        return Credential.auth_token(settings.model.auth_token.reveal())
    return Credential.api_key(settings.model.api_key.reveal())


async def _stop(signals: StopSignals, server: uvicorn.Server, sessions: Sessions) -> None:
    """Sessions first, so that their people are told while their sockets are still open."""
    await signals.first.wait()
    _log.info("shutdown.begun")
    try:
        await sessions.close()
    finally:
        server.should_exit = True


async def _hurry(signals: StopSignals, server: uvicorn.Server, sessions: Sessions) -> None:
    """At the second signal, whatever is waited for."""
    await signals.second.wait()
    sessions.hurry()
    server.force_exit = True


async def _announce(
    server: uvicorn.Server, health: HealthChecks, url: str, on_ready: Callable[[str], None]
) -> None:
    while not server.started or (await health.health()).status == "failed":  # noqa: ASYNC110  # uvicorn tells nobody
        await asyncio.sleep(0.05)
    _log.info("casemate.ready", url=url)
    on_ready(url)
