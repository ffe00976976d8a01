"""What an attacker has: a shell in a sandbox, through the CLI's Bash tool of a real session.

The person at the session allows everything: what holds the intruder back is the sandbox alone.
"""

import asyncio
import json
import shlex
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from orchestrator.protocol.sandbox_events import PermissionRequested, ToolFinished, TurnEnded
from orchestrator.testing.chat_client import ApiClient, Chat, decision_on
from orchestrator.testing.running_casemate import RunningCasemate

PROBES = Path(__file__).parent / "probes"
PYTHON = "python3"
SHIMS_PYTHON = "/opt/casemate/bin/python3"
"""Has a WebSocket library, as anybody in the sandbox may find out."""
LIMIT = 90.0


class Intruder:
    def __init__(self, client: ApiClient, chat: Chat, session: str) -> None:
        self.client = client
        self.chat = chat
        self.session = session

    @classmethod
    @asynccontextmanager
    async def of(cls, client: ApiClient) -> AsyncIterator["Intruder"]:
        """In a new session of this person's; it is ended afterwards."""
        session = (await client.create())["id"]
        try:
            async with client.chat(session) as chat:
                yield cls(client, chat, session)
        finally:
            await client.end(session)

    async def sandbox(self) -> str:
        """The name of its container."""
        view = await self.chat.until(lambda c: c.view and c.view.sandbox_id and c.view)
        return f"casemate-{view.sandbox_id}"

    async def start(self, command: str) -> int:
        """Have a command run, and do not wait for it. Returns the `seq` before it."""
        await self.idle()
        seq = await self.chat.prompt(f"!bash {command}")
        asked = await self.chat.until(lambda c: _first_of(c, seq))
        if isinstance(asked, PermissionRequested):
            await self.chat.send(decision_on(asked, "allow"))
        return seq

    async def bash(self, command: str) -> str:
        """What the command wrote, as Claude sees it. The turn may still be running."""
        seq = await self.start(command)
        _, finished = await self.chat.next(ToolFinished, after=seq, limit=LIMIT)
        return "".join(part.text for part in finished.content)

    async def probe(self, name: str, *arguments: str, python: str = PYTHON) -> dict[str, Any]:
        """Run one of the scripts in `probes/` and return the object that it printed."""
        written = await self.bash(script(name, *arguments, python=python))
        found = [line for line in written.splitlines() if line.startswith("{")]
        assert found, written
        return dict(json.loads(found[-1]))

    async def idle(self) -> None:
        await self.chat.until(lambda c: c.view and c.view.state == "idle", limit=LIMIT)

    async def works(self) -> None:
        """The session still does what it is for."""
        await self.idle()
        assert (await self.chat.turn("!say 3 words")).outcome == "completed"


def _first_of(chat: Chat, seq: int) -> PermissionRequested | ToolFinished | TurnEnded | None:
    kinds = (PermissionRequested, ToolFinished, TurnEnded)
    return next((e for s, e in chat.events if s > seq and isinstance(e, kinds)), None)


def script(name: str, *arguments: str, python: str = PYTHON) -> str:
    """A shell command that runs a probe, whose text it holds."""
    words = shlex.join([python, "-", *arguments])
    return f"{words} <<'END-OF-PROBE'\n{(PROBES / f'{name}.py').read_text()}\nEND-OF-PROBE"


def docker(*arguments: str) -> str:
    """What the docker command says on either output, of containers of this Casemate only."""
    done = subprocess.run(
        ["docker", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout.strip()


async def until(condition: Callable[[], Any], *, limit: float = 30) -> Any:
    """Wait until the condition holds; what it gave is returned."""
    async with asyncio.timeout(limit):
        while True:
            result = condition()
            if result:
                return result
            await asyncio.sleep(0.1)


def memory_of(casemate: RunningCasemate, field: str) -> int:
    """Bytes of the control plane: `VmRSS` now, `VmHWM` at most."""
    lines = Path(f"/proc/{casemate.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{field}:"))


def cpu_of(casemate: RunningCasemate) -> float:
    """Seconds of processor time of the control plane so far."""
    fields = Path(f"/proc/{casemate.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
