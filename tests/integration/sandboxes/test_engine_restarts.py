"""The Docker engine is stopped, killed and started anew under a running pool. An engine of the
test's own: the machine's is left alone."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import aiodocker
import pytest
from msgspec.structs import replace

from orchestrator.protocol.ids import ProfileName, SessionId
from orchestrator.sandboxes.opening import sandbox_pool
from orchestrator.setup.engine import daemon_program
from orchestrator.setup.engine_daemon import remove_stale_pid_files
from orchestrator.setup.gvisor import SecondEngine
from orchestrator.testing.local_broker import local_broker

pytestmark = pytest.mark.timeout(300)
DEFAULT = ProfileName("default")
IMAGE = "casemate-sandbox:current"
TOLD = {
    signal.SIGTERM: {"exited", "killed", "engine_restarted"},
    signal.SIGKILL: {"engine_restarted", "killed", "link_lost"},
}
"""An engine that stops in good order stops its containers first: then that is all that is known."""


class OwnEngine:
    def __init__(self, home):
        self.home = home
        self.engine = SecondEngine(home=home / "home", run=home / "run")
        self.url = f"unix://{self.engine.run}/docker.sock"
        self.process = None

    def start(self):
        """In a network namespace of its own, as `setup.gvisor` does and says why."""
        for folder in (self.engine.home, self.engine.run):
            folder.mkdir(exist_ok=True)
        (self.engine.home / "daemon.json").write_text("{}")
        remove_stale_pid_files(self.engine.files())
        with (self.engine.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["unshare", "--net", str(daemon_program()), *self.engine.arguments()],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def docker(self, *arguments, **how):
        command = ["docker", "--host", self.url, *arguments]
        return subprocess.run(command, capture_output=True, check=False, **how)

    async def until_answers(self):
        async with asyncio.timeout(60):
            while (await asyncio.to_thread(self.docker, "version")).returncode:
                await asyncio.sleep(0.2)

    async def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        await asyncio.to_thread(self.process.wait, 60)

    def load(self):
        with subprocess.Popen(["docker", "save", IMAGE], stdout=subprocess.PIPE) as saving:
            self.docker("load", stdin=saving.stdout)

    def remove(self):
        """Its containerd and whatever it ran are in nobody's way afterwards."""
        for pid in processes_below(self.engine.run):
            os.kill(pid, signal.SIGKILL)
        for mounted in sorted(mounts_below(self.home), reverse=True):
            subprocess.run(["umount", "--lazy", mounted], check=False)
        shutil.rmtree(self.home, ignore_errors=True)


def processes_below(folder):
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and bytes(folder) in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def mounts_below(folder):
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [line.split()[1] for line in lines if line.split()[1].startswith(str(folder))]


@pytest.fixture
async def engine(sandbox_image):
    if os.geteuid() != 0 or daemon_program() is None:
        pytest.skip("only root can start a Docker engine")
    own = OwnEngine(Path(tempfile.mkdtemp(prefix="cd-")))
    own.start()
    try:
        await own.until_answers()
        await asyncio.to_thread(own.load)
        yield own
        await own.end()
    finally:
        await asyncio.to_thread(own.remove)


async def ready(pool, number):
    async with asyncio.timeout(60):
        while pool.pools()[0].ready < number:
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
async def test_the_engine_is_restarted(world, engine, how):
    """Sessions are told that their sandbox is lost and why; when the engine is back the pool fills
    itself again, a session gets another sandbox, and nothing of the earlier ones is left."""
    settings = world.settings(minimum=1, maximum=3, backoff_most=2.0)
    settings = replace(settings, engine=replace(settings.engine, url=engine.url))
    async with (
        world.gateway() as gateway,
        local_broker(settings, world.catalogue) as broker,
        sandbox_pool(settings, broker=broker, catalogue=world.catalogue, door=gateway) as pool,
        aiodocker.Docker(url=engine.url) as docker,
    ):
        await ready(pool, 1)
        lost = await pool.claim(DEFAULT, session=SessionId("s"), on_place=lambda _: None)
        await engine.end(how)
        await asyncio.sleep(1)
        engine.start()
        await engine.until_answers()
        async with asyncio.timeout(60):
            async for _ in lost.events():
                pass
        assert lost.ending.tag in TOLD[how]
        await ready(pool, 1)
        another = await pool.claim(DEFAULT, session=SessionId("s"), on_place=lambda _: None)
        assert another.id != lost.id
        async with asyncio.timeout(60):
            await lost.gone()
        await ready(pool, 1)
        names = [one["Names"][0] for one in await docker.containers.list(all=True)]
        assert f"/casemate-{lost.id}" not in names
        assert len(names) == 2
