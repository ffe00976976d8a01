import asyncio
import os
import signal
import sys
import time

import msgspec
import pytest

from orchestrator.protocol.sandbox_events import AgentDied, ToolFinished, TurnEnded
from orchestrator.sandboxes.container_spec import violations
from orchestrator.sandboxes.errors import SlotFailure
from orchestrator.sandboxes.settings import BrokerSettings
from orchestrator.testing.local_broker import local_broker
from orchestrator.testing.sandbox_contract import Listener, claim, claimed, start_turn

KEY = "sk-ant-the-real-key-of-this-test"
IGNORE = lambda place: None  # noqa: E731


def view(pool):
    return pool.pools()[0]


async def test_a_ready_one_is_claimed_in_milliseconds(pool, until):
    """A claim on a ready pool takes milliseconds, and its first turn is answered."""
    await until(lambda: view(pool).ready == 1)
    began = time.perf_counter()
    sandbox = await pool.claim("default", session="s", on_place=IGNORE)
    assert time.perf_counter() - began < 0.01
    listener = Listener(sandbox)
    await start_turn(sandbox, "Hello")
    assert (await listener.first(TurnEnded)).outcome == "completed"
    await sandbox.destroy()


async def test_destroyed_within_two_seconds(pool, world, until):
    """Destroying a sandbox in a turn removes its container and slot within two seconds."""
    async with claimed(pool) as (sandbox, _):
        await start_turn(sandbox, "!bash sleep 100")
        began = time.monotonic()
        await sandbox.destroy()
        assert time.monotonic() - began < 2
        assert not [c for c in await world.containers() if sandbox.id in c["Name"]]
        assert not (world.slots / sandbox.slot).exists()


async def test_twenty_at_once(pools, world, until):
    """Twenty claims at once on a small pool are all served in turn, and nothing is left."""
    pool = await pools(minimum=2, maximum=6, wait_limit=120)
    most = 0

    async def use(n):
        nonlocal most
        sandbox = await claim(pool, f"s{n}")
        most = max(most, view(pool).claimed)
        await sandbox.destroy()
        return sandbox.id

    used = await asyncio.gather(*(use(n) for n in range(20)))
    assert len(set(used)) == 20
    assert most <= 6
    await pool.resize("default", minimum=0, maximum=6)
    await until(lambda: not view(pool).members and not view(pool).starting)
    assert await world.containers() == []
    assert world.slot_directories() == []


async def test_each_has_a_uid_of_its_own(pools, world, until):
    """No two sandboxes share a uid, and each container is what it was asked to be."""
    pool = await pools(minimum=2, maximum=2)
    await until(lambda: view(pool).ready == 2)
    containers = await world.containers()
    assert len({container["Config"]["User"] for container in containers}) == 2
    assert all(container["HostConfig"]["NetworkMode"] == "none" for container in containers)
    for slot in world.slot_directories():
        status = slot.stat()
        assert (status.st_mode & 0o777, status.st_uid >= 20_000) == (0o700, True)


async def kill(world, sandbox, part):
    """Kill the process whose command line has `part` in it, from outside."""
    for pid, line in (await world.processes(sandbox)).items():
        if part in line and "docker-init" not in line:
            os.kill(pid, signal.SIGKILL)
            return
    pytest.fail(f"no process with {part}")


async def ended(sandbox, listener):
    """How it ended, and after how many seconds that was known."""
    began = time.monotonic()
    await listener.end()
    await sandbox.gone()
    return sandbox.ending.tag, time.monotonic() - began


async def test_a_killed_container_is_noticed(pool, world):
    """A container that is killed ends its sandbox within a second or two, and takes all with it."""
    async with claimed(pool) as (sandbox, listener):
        container = await world.container_of(sandbox)
        await container.kill()
        tag, seconds = await ended(sandbox, listener)
        assert (tag, seconds < 3) == ("killed", True)


async def test_a_killed_shim_is_noticed(pool, world):
    """A shim that is killed ends its sandbox."""
    async with claimed(pool) as (sandbox, listener):
        await kill(world, sandbox, "-m shim")
        tag, seconds = await ended(sandbox, listener)
        assert (tag, seconds < 4) == ("killed", True)


async def test_a_killed_agent_is_noticed(pool, world):
    """An agent that is killed in a turn ends its sandbox, which says so."""
    async with claimed(pool) as (sandbox, listener):
        await start_turn(sandbox, "!slow 30")
        await asyncio.sleep(0.5)
        await kill(world, sandbox, "claude")
        assert (await listener.first(AgentDied)) is not None
        tag, seconds = await ended(sandbox, listener)
        assert (tag, seconds < 4) == ("agent_died", True)


async def test_a_ready_one_whose_container_dies(pool, world, until):
    """A ready sandbox that dies is replaced, and never handed out."""
    await until(lambda: view(pool).ready == 1)
    (member,) = view(pool).members
    container = await world.docker.containers.get(f"casemate-{member.sandbox_id}")
    await container.kill()
    async with claimed(pool) as (sandbox, _):
        assert sandbox.id != member.sandbox_id


async def test_what_bash_can_do_to_the_link(pool, world):
    """Bash can neither speak on the link beside the shim nor replace its socket."""
    script = (
        "curl -sS -m 3 --unix-socket /run/agent/link.sock http://x/ -o /dev/null;"
        "rm /run/agent/link.sock 2>/dev/null || echo 'kept;';"
        "touch /run/agent/x 2>/dev/null || echo 'closed;'"
    )
    world.catalogue.known = _allowing_bash(world.catalogue.known)
    pool.refresh()
    async with claimed(pool) as (sandbox, listener):
        await start_turn(sandbox, f"!bash {script}")
        said = str((await listener.first(ToolFinished)).content)
        assert (await listener.first(TurnEnded)).outcome == "completed"
        assert "kept;" in said
        assert "closed;" in said
        assert sandbox.ending is None


def _allowing_bash(profile):
    agent = msgspec.structs.replace(profile.agent, allowed_tools=["Bash"])
    return msgspec.structs.replace(profile, agent=agent)


async def test_what_bash_finds_around_it(pool, world):
    """Inside there is a uid of its own without capabilities, a system call filter, no network, a
    read-only root, and no key but the placeholder."""
    script = (
        "id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | tr '\\t' ' ';"
        "ls /sys/class/net; touch /x 2>&1; ls -A /run/agent; cat /proc/*/environ | tr '\\0' '\\n'"
    )
    world.catalogue.known = _allowing_bash(world.catalogue.known)
    pool.refresh()
    async with claimed(pool) as (sandbox, listener):
        await start_turn(sandbox, f"!bash {script}")
        said = str((await listener.first(ToolFinished)).content)
        assert str((world.slots / sandbox.slot).stat().st_uid) in said
        for expected in (
            "CapEff: 0000000000000000",
            "CapBnd: 0000000000000000",
            "NoNewPrivs: 1",
            "Seccomp: 2",
            "Read-only file system",
            "agent.json",
            "not-a-secret",
        ):
            assert expected in said
        assert "eth0" not in said
        assert KEY not in said


async def test_out_of_memory_in_bash_is_survived_or_told(pool, world):
    """A hog in Bash is killed by the kernel; the sandbox lives, or says that memory was short."""
    world.catalogue.known = _allowing_bash(world.catalogue.known)
    pool.refresh()
    async with claimed(pool) as (sandbox, listener):
        hog = "python3 -c 'x=[bytearray(1<<24) for _ in range(200)]'"
        await start_turn(sandbox, f"!bash {hog}")
        async with asyncio.timeout(60):
            await asyncio.wait(
                (
                    asyncio.create_task(listener.first(TurnEnded)),
                    asyncio.create_task(sandbox.gone()),
                ),
                return_when=asyncio.FIRST_COMPLETED,
            )
        assert sandbox.ending is None or sandbox.ending.tag == "out_of_memory"


OTHER_RUN = """
import asyncio, sys
import msgspec
from orchestrator.sandboxes.opening import sandbox_pool
from orchestrator.sandboxes.settings import SandboxSettings
from orchestrator.sessions.profiles import Profile
from orchestrator.testing.local_broker import local_broker

class Door:
    async def open(self, slot_id, *, model, egress): ...
    def admit(self, slot_id, *, session_id, profile): ...
    async def close(self, slot_id): ...

class Catalogue:
    known = msgspec.json.decode(sys.argv[2], type=Profile)
    def profile(self, name): return self.known
    def profiles(self): return [self.known]

async def run():
    settings = msgspec.json.decode(sys.argv[1], type=SandboxSettings, dec_hook=lambda t, v: t(v))
    async with (
        local_broker(settings, Catalogue()) as broker,
        sandbox_pool(settings, broker=broker, catalogue=Catalogue(), door=Door()) as pool,
    ):
        while not pool.pools()[0].ready:
            await asyncio.sleep(0.05)
        print("READY", flush=True)
        await asyncio.sleep(100)

asyncio.run(run())
"""


async def test_the_next_run_sweeps(world):
    """While a run lives its slots are its own; once it is killed, the next one removes what it
    left, containers and slots."""
    other = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OTHER_RUN),
        msgspec.json.encode(world.settings(), enc_hook=str),
        msgspec.json.encode(world.catalogue.known),
        stdout=asyncio.subprocess.PIPE,
    )
    impatient = msgspec.structs.replace(world.settings(), broker=BrokerSettings(connect_limit=0.2))
    async with asyncio.timeout(60):
        while b"READY" not in await other.stdout.readline():
            pass
        with pytest.raises(SlotFailure, match="Another Casemate"):
            await local_broker(impatient, world.catalogue).__aenter__()
        other.kill()
        await other.wait()
        assert await world.containers()
        assert world.slot_directories()
        async with local_broker(world.settings(), world.catalogue):
            assert await world.containers() == []
            assert world.slot_directories() == []


async def test_spec_of_real_containers(pool, world, until):
    """Reading a container back shows no violation, and a changed wish shows as one."""
    await until(lambda: view(pool).ready == 1)
    (container,) = await world.containers()
    asked = {
        **container["Config"],
        "Image": container["Image"],
        "HostConfig": container["HostConfig"],
    }
    assert violations(container, asked=asked) == []
    wish = {**asked, "HostConfig": {**asked["HostConfig"], "PidsLimt": 5}}
    assert violations(container, asked=wish) == ["PidsLimt is not as asked"]


async def test_an_image_that_is_not_there(pools, world, until):
    """Without its image a pool says what is missing, and recovers when it is there."""
    good = world.catalogue.known
    world.catalogue.known = msgspec.structs.replace(good, image="casemate-not-built:none")
    pool = await pools()
    await until(lambda: view(pool).last_error is not None)
    assert "casemate-not-built:none" in view(pool).last_error
    world.catalogue.known = good
    pool.refresh()
    await until(lambda: view(pool).ready == 1)
