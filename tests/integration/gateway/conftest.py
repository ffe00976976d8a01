"""A gateway on a real unix socket in front of a scripted model on a real TCP port."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchestrator.gateway.credential import Credential
from orchestrator.gateway.gateway import Gateway
from orchestrator.gateway.settings import GatewaySettings
from orchestrator.protocol.agent import AgentSetup
from orchestrator.protocol.control_events import EgressRefused, UpstreamFailed, UsageMetered
from orchestrator.protocol.ids import ProfileName, SessionId, SlotId
from orchestrator.sandboxes.slot_sockets import listen
from orchestrator.sessions.profiles import Profile
from orchestrator.testing.scripted_model import ScriptedModel

REAL_KEY = "sk-ant-the-real-key-0123456789"
SLOT = SlotId("0" * 32)
SESSION = SessionId("session-1")
PROFILE = Profile(
    name=ProfileName("default"),
    title="Default",
    agent=AgentSetup(model="claude-opus-5-5"),
    models=("claude-*",),
)


class RecordingWatcher:
    def __init__(self) -> None:
        self.metered_events: list[tuple[SessionId, UsageMetered]] = []
        self.failures: list[tuple[SessionId, UpstreamFailed]] = []
        self.refusals: list[tuple[SessionId, ProfileName, EgressRefused]] = []
        self.states: list[tuple[bool, str, str | None]] = []

    def metered(self, session_id: SessionId, event: UsageMetered) -> None:
        self.metered_events.append((session_id, event))

    def upstream_failed(self, session_id: SessionId, event: UpstreamFailed) -> None:
        self.failures.append((session_id, event))

    def upstream_state(self, *, is_open: bool, sentence: str, until: str | None) -> None:
        self.states.append((is_open, sentence, until))

    def egress_refused(
        self, session_id: SessionId, profile: ProfileName, event: EgressRefused
    ) -> None:
        self.refusals.append((session_id, profile, event))

    @property
    def tags(self) -> list[str]:
        return [failure.tag for _, failure in self.failures]


class Door:
    """A slot's socket as the sandbox sees it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @asynccontextmanager
    async def client(self) -> AsyncIterator[aiohttp.ClientSession]:
        connector = aiohttp.UnixConnector(path=str(self.path))
        async with aiohttp.ClientSession("http://gateway.internal", connector=connector) as client:
            yield client

    async def post(
        self, body: Any, *, path: str = "/v1/messages", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) else None
        json = None if isinstance(body, bytes) else body
        async with (
            self.client() as client,
            client.post(path, data=data, json=json, headers=sent) as response,
        ):
            content = await response.read()
            return response.status, {k.lower(): v for k, v in response.headers.items()}, content


def prompt(text: str, **fields: Any) -> dict[str, Any]:
    message = {"role": "user", "content": text}
    return {"model": "claude-opus-5-5", "max_tokens": 1000, "messages": [message]} | fields


@pytest.fixture
def watcher() -> RecordingWatcher:
    return RecordingWatcher()


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel(require_key=REAL_KEY) as model:
        yield model


@asynccontextmanager
async def open_gateway(
    path: Path,
    watcher: RecordingWatcher,
    url: str,
    *,
    key: str = REAL_KEY,
    profile: Profile = PROFILE,
    **settings: Any,
) -> AsyncIterator[Gateway]:
    """With one slot, admitted."""
    gateway = Gateway(
        GatewaySettings(upstream_url=url, **settings),
        credential=Credential.api_key(key),
        watcher=watcher,
    )
    async with gateway:
        await gateway.open(SLOT, model=listen(path), egress=None)
        gateway.admit(SLOT, session_id=SESSION, profile=profile)
        yield gateway


@pytest.fixture
def profile() -> Profile:
    return PROFILE


@pytest.fixture
async def door(
    tmp_path: Path, watcher: RecordingWatcher, model: ScriptedModel, profile: Profile
) -> AsyncIterator[Door]:
    path = tmp_path / "gw.sock"
    async with open_gateway(path, watcher, model.url, profile=profile):
        yield Door(path)


async def until(condition: Callable[[], object], *, seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
