"""A door with real accounts and real sessions behind it; sandboxes, pools and stores are fakes."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from orchestrator.accounts.service import Accounts
from orchestrator.accounts.settings import AccountsSettings
from orchestrator.api.about_routes import Edition
from orchestrator.api.application import create_api
from orchestrator.api.settings import ApiSettings
from orchestrator.protocol.ids import ProfileName
from orchestrator.sessions.errors import UnknownProfile
from orchestrator.sessions.profiles import FixedProfiles
from orchestrator.sessions.refused_hosts import RefusedHosts
from orchestrator.telemetry.health import summary
from orchestrator.telemetry.metrics import Metrics
from orchestrator.testing.memory_audit import MemoryAudit, MemoryRefusedHostStore
from orchestrator.testing.memory_stores import (
    MemoryRefreshTokenStore,
    MemorySignInLinkStore,
    MemoryUserStore,
)
from orchestrator.testing.session_world import PROFILE, World

URL = "http://127.0.0.1:8080"
NOW = "2026-01-02T03:04:05.678Z"
PASSWORD = "plain tortoise umbrella"
ACCOUNTS = AccountsSettings(argon2_memory_kib=64, standing_age=0.05)
API = ApiSettings(recheck_seconds=0.05, keep_alive_seconds=0.1, grace_pause=0.0)


class PoolFigures(msgspec.Struct, frozen=True, kw_only=True):
    profile: str
    min: int
    max: int
    ready: int = 1
    starting: int = 0
    claimed: int = 0
    waiting: int = 0
    members: list[Any] = []
    counters: dict[str, int] = {}
    last_error: str | None = None


class FakePoolAdmin:
    def __init__(self) -> None:
        self.figures = {"default": PoolFigures(profile="default", min=2, max=6)}

    def pools(self) -> list[PoolFigures]:
        return list(self.figures.values())

    async def resize(self, profile: ProfileName, *, minimum: int, maximum: int) -> PoolFigures:
        if profile not in self.figures:
            raise UnknownProfile
        self.figures[profile] = PoolFigures(profile=profile, min=minimum, max=maximum)
        return self.figures[profile]


class FakeHealth:
    def __init__(self) -> None:
        self.checks: list[Any] = []

    async def health(self) -> object:
        return summary(self.checks)


class Door:
    """Everything, and a client that is nobody yet. `clock` moves the accounts' time."""

    def __init__(
        self, *, url: str = URL, page: Path | None = None, api: ApiSettings = API, size: int = 3
    ) -> None:
        self.url = url
        self.offset = 0.0
        self.world = World(size=size)
        self.metrics = Metrics()
        self.pools = FakePoolAdmin()
        self.health = FakeHealth()
        self.audit = MemoryAudit()
        self.refused_hosts = RefusedHosts(MemoryRefusedHostStore(), now=lambda: NOW)
        self.users = MemoryUserStore()
        self.tokens = MemoryRefreshTokenStore()
        self.accounts = Accounts(
            users=self.users,
            tokens=self.tokens,
            links=MemorySignInLinkStore(),
            access_key=b"a" * 32,
            settings=ACCOUNTS,
            watcher=self.metrics,
            time=lambda: time.time() + self.offset,
        )
        self.app: Litestar = create_api(
            public_url=url,
            csrf_key=b"c" * 32,
            sessions=self.world.sessions,
            accounts=self.accounts,
            pools=self.pools,
            catalogue=FixedProfiles([PROFILE]),
            health=self.health,
            metrics=self.metrics,
            audit=self.audit,
            refused_hosts=self.refused_hosts,
            watcher=self.metrics,
            edition=Edition(version="1.2.3", scripted_model=True),
            settings=api,
            page_directory=page,
        )
        self.anonymous = TestClient(self.app, base_url=url, raise_server_exceptions=False)

    def run(self, coroutine: Any) -> Any:
        """Run in the client's event loop."""

        async def awaited() -> Any:
            return await coroutine

        with self.anonymous.portal() as portal:
            return portal.call(awaited)

    def add(self, name: str, role: str = "user") -> str:
        return str(self.run(self.accounts.add_user(name, role=role, password=PASSWORD)).id)

    def bearer(self, name: str) -> dict[str, str]:
        body = {"username": name, "password": PASSWORD}
        answer = self.anonymous.post("/api/v1/auth/token", json=body)
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def browser(self, name: str) -> "Browser":
        return Browser(self, name)


class Browser:
    """A signed-in page: cookies, the headers that browsers send, the anti-forgery header."""

    def __init__(self, door: Door, name: str) -> None:
        self.door = door
        self.client = TestClient(door.app, base_url=door.url, raise_server_exceptions=False)
        self.client.blocking_portal = door.anonymous.blocking_portal
        self.client.headers.update({"Origin": door.url, "Sec-Fetch-Site": "same-origin"})
        body = {"username": name, "password": PASSWORD}
        answer = self.client.post("/api/v1/auth/login", json=body)
        assert answer.status_code == 200, answer.text
        self.client.headers["X-CSRF-Token"] = self.cookie("csrf")

    def cookie(self, kind: str) -> str:
        return next(v for k, v in self.client.cookies.items() if k.endswith(f"casemate_{kind}"))


@pytest.fixture
def make_door() -> Iterator[Callable[..., Door]]:
    """Doors of other addresses, pages and settings."""
    with ExitStack() as stack:

        def make(**options: Any) -> Door:
            made = Door(**options)
            stack.enter_context(made.anonymous)
            return made

        yield make


@pytest.fixture
def door(make_door: Callable[..., Door]) -> Door:
    """Behind it are ada and bob (users), olga (operator) and root (admin)."""
    made = make_door()
    for name, role in (("ada", "user"), ("bob", "user"), ("olga", "operator"), ("root", "admin")):
        made.add(name, role)
    return made
