"""How much of a sandbox's mischief its neighbour feels: turns beside a pest, against quiet ones.

Two sessions of two people on one Casemate. One has short turns, one after the other; in the other's
sandbox something is a pest in one way after the other, as `tests/attacks/probes/pest.py` does it:

    quiet      nothing: the other sandbox idles
    cpu        no attack, but its share of the processors used up: what is allowed anyway
    forks      a fork bomb, again and again
    memory     memory to the limit, again and again
    disk       every file system that can be written to, filled again and again
    log        all that is to be reached of the container's and the CLI's output, written full
    output     turns whose tools put out sixty MiB
    dials      connections to the link's socket beside the shim
    frames     the shim's place taken, small lasting events without end
    overlaps   the shim's place taken, pieces of text that overlap
    requests   refused requests, connections and chunks of one byte on the gateway's socket

Each round takes all ways in turn, so that they share the machine's moods. Prints first token and
whole turn as medians, p95 and spread, and as ratios to `quiet` and to `cpu`; writes
`.bench/neighbours.json`. Turns that do not complete are counted, and are none of the figures.
"""

import argparse
import asyncio
import contextlib
import json
import shlex
import statistics
import time
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

from start import PASSWORD, scripted_model, until_full

from orchestrator.protocol.sandbox_events import (
    BlockDelta,
    PermissionRequested,
    TextWritten,
    ToolFinished,
    TurnEnded,
)
from orchestrator.testing.chat_client import ApiClient, Chat, decision_on
from orchestrator.testing.running_casemate import RunningCasemate, running_casemate

HERE = Path(__file__).parent
PEST = HERE.parent / "tests" / "attacks" / "probes" / "pest.py"
SHIMS_PYTHON = "/opt/casemate/bin/python3"
PROMPT = "!say 20 words"
LONGEST_TURN = 60.0
WAYS = (
    *("quiet", "cpu", "forks", "memory", "disk", "log", "output"),
    *("dials", "frames", "overlaps", "requests"),
)
FOUND_OUT = 9.0
"""Seconds until a stopped shim is given up, with the settings below, and its place is free."""
IN_THE_SHIMS_PLACE = ("frames", "overlaps")
AIM = 1.5
"""The most that an attack's first token may be of the one beside a busy processor."""

Turn = tuple[float, float] | None
"""Seconds to the first token and to the end; None for a turn that did not complete."""


async def turn(chat: Chat) -> Turn:
    sent = time.perf_counter()
    before = await chat.prompt(PROMPT)
    try:
        seq, _ = await chat.until(
            lambda c: next(
                (
                    (s, e)
                    for s, e in c.events
                    if s > before and isinstance(e, BlockDelta | TextWritten)
                ),
                None,
            ),
            limit=LONGEST_TURN,
        )
        last, ended = await chat.next(TurnEnded, after=before, limit=LONGEST_TURN)
    except TimeoutError:
        return None
    if ended.outcome != "completed":
        return None
    return chat.arrived[seq] - sent, chat.arrived[last] - sent


# --- the pest ----------------------------------------------------------------------------------


async def have_run(chat: Chat, command: str) -> None:
    """Through the agent's own Bash tool, which its person allows."""
    before = await chat.prompt(f"!bash {command}")
    kinds = (PermissionRequested, ToolFinished, TurnEnded)
    asked = await chat.until(
        lambda c: next((e for s, e in c.events if s > before and isinstance(e, kinds)), None)
    )
    if isinstance(asked, PermissionRequested):
        await chat.send(decision_on(asked, "allow"))
    await chat.next(ToolFinished, after=before, limit=LONGEST_TURN)


async def put_out(chat: Chat) -> None:
    """Until cancelled."""
    while True:
        await chat.until(lambda c: c.view and c.view.state == "idle", limit=LONGEST_TURN)
        await have_run(chat, "head -c 60000000 /dev/zero | tr '\\0' x; touch done")


async def infest(chat: Chat, way: str, *, seconds: float) -> None:
    words = shlex.join([SHIMS_PYTHON, "-", way, str(seconds)])
    await have_run(chat, f"{words} <<'END-OF-PROBE'\n{PEST.read_text()}\nEND-OF-PROBE")
    await asyncio.sleep(FOUND_OUT if way in IN_THE_SHIMS_PLACE else 1.0)


class Pest:
    """The other sandbox. One that was cut off for what it did is replaced by the next."""

    def __init__(self, api: ApiClient, way: str, *, seconds: float) -> None:
        self._api = api
        self._way = way
        self._seconds = seconds
        self._session: contextlib.AsyncExitStack | None = None
        self._chat: Chat | None = None
        self.sandboxes = 0

    async def see_to_it(self) -> None:
        """It is at work."""
        if self._chat is not None and self._is_alive(self._chat):
            return
        await self.end()
        self._session = contextlib.AsyncExitStack()
        self._chat = await self._session.enter_async_context(self._begin())
        self.sandboxes += 1

    @contextlib.asynccontextmanager
    async def _begin(self) -> AsyncIterator[Chat]:
        session = (await self._api.create())["id"]
        try:
            async with self._api.chat(session) as chat, at_work(self._work(chat)):
                if self._way not in ("quiet", "output"):
                    await infest(chat, self._way, seconds=self._seconds)
                yield chat
        finally:
            await self._api.end(session)

    async def _work(self, chat: Chat) -> None:
        if self._way == "output":
            with contextlib.suppress(TimeoutError, ConnectionError):
                await put_out(chat)

    def _is_alive(self, chat: Chat) -> bool:
        return chat.closed is None and chat.view is not None and chat.view.ending is None

    async def end(self) -> None:
        session, self._session, self._chat = self._session, None, None
        if session is not None:
            await session.aclose()


@contextlib.asynccontextmanager
async def at_work(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work, name="pest")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


# --- measuring ---------------------------------------------------------------------------------


class Taken:
    """What was measured beside one way."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.most_memory = 0
        self.logged = 0
        self.sandboxes = 0


async def beside(
    casemate: RunningCasemate, pest: Pest, chat: Chat, *, turns: int, into: Taken
) -> None:
    logged = len(casemate.log)
    try:
        for _ in range(turns):
            await pest.see_to_it()
            into.turns.append(await turn(chat))
            into.most_memory = max(into.most_memory, memory_of(casemate.pid))
    finally:
        into.sandboxes += pest.sandboxes
        await pest.end()
    into.logged += len(casemate.log) - logged


async def measure(
    casemate: RunningCasemate, ways: list[str], *, rounds: int, turns: int
) -> dict[str, Taken]:
    taken = {way: Taken() for way in ways}
    async with (
        ApiClient.signed_in(casemate.url, "admin", PASSWORD) as admin,
        ApiClient.signed_in(casemate.url, "neighbour", PASSWORD) as neighbour,
        ApiClient.signed_in(casemate.url, "pest", PASSWORD) as other,
    ):
        for number in range(rounds):
            session = (await neighbour.create())["id"]
            async with neighbour.chat(session) as chat:
                await turn(chat)  # the first one warms the CLI
                for way in ways:
                    await until_full(admin)
                    pest = Pest(other, way, seconds=turns * LONGEST_TURN)
                    await beside(casemate, pest, chat, turns=turns, into=taken[way])
                    print(f"  {number + 1:2}/{rounds}  {way:9} " + row(taken[way].turns[-turns:]))
            await neighbour.end(session)
    return taken


def memory_of(pid: int) -> int:
    """Bytes that are resident."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS:"))


def row(turns: list[Turn]) -> str:
    return "  ".join("failed" if t is None else f"{t[0] * 1000:6.0f}" for t in turns)


# --- telling -----------------------------------------------------------------------------------


def figures_of(values: list[float]) -> dict[str, float]:
    """Milliseconds. `spread` is from the first to the third quarter."""
    if not values:
        return {}
    ordered = sorted(value * 1000 for value in values)
    first, _, third = statistics.quantiles(ordered, n=4) if len(ordered) > 1 else ordered * 3
    return {
        "median_ms": round(statistics.median(ordered), 1),
        "p95_ms": round(ordered[max(0, -(-len(ordered) * 95 // 100) - 1)], 1),
        "spread_ms": round(third - first, 1),
        "n": len(ordered),
    }


def summary(taken: dict[str, Taken]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for way, of in taken.items():
        done = [t for t in of.turns if t is not None]
        result[way] = {
            "first_token": figures_of([first for first, _ in done]),
            "turn": figures_of([whole for _, whole in done]),
            "failed": len(of.turns) - len(done),
            "control_plane_mib": of.most_memory >> 20,
            "log_kib": of.logged >> 10,
            "sandboxes": of.sandboxes,
        }
    for way, figures in result.items():
        figures["ratios"] = {base: ratio(result, way, base) for base in ("quiet", "cpu")}
    return {"beside": result, "aim": {"first token / beside cpu": AIM}}


def ratio(result: dict[str, Any], way: str, base: str) -> float | None:
    one = result[way]["first_token"].get("median_ms")
    other = result.get(base, {}).get("first_token", {}).get("median_ms")
    return round(one / other, 2) if one and other else None


def show(result: dict[str, Any]) -> None:
    print(
        f"\n{'beside':10}{'first token':>12}{'p95':>8}{'spread':>8}{'x quiet':>9}{'x cpu':>7}"
        f"{'turn':>8}{'p95':>8}   n  failed  control plane MiB  log KiB  sandboxes"
    )
    for way, f in result["beside"].items():
        token, whole = f["first_token"], f["turn"]
        if not token:
            print(f"{way:10}{'none completed':>12}{f['failed']:>70}")
            continue
        print(
            f"{way:10}{token['median_ms']:12.0f}{token['p95_ms']:8.0f}{token['spread_ms']:8.0f}"
            f"{f['ratios']['quiet'] or 0:9.2f}{f['ratios']['cpu'] or 0:7.2f}"
            f"{whole['median_ms']:8.0f}{whole['p95_ms']:8.0f}{token['n']:4}{f['failed']:8}"
            f"{f['control_plane_mib']:19}{f['log_kib']:9}{f['sandboxes']:11}"
        )
    print(f"Milliseconds. Aim: at most {AIM:g} x cpu, and none failed.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--turns", type=int, default=5, help="beside each way in each round")
    parser.add_argument("ways", nargs="*", default=list(WAYS), help=", ".join(WAYS))
    options = parser.parse_args()
    with scripted_model() as model:
        environment = {
            "CASEMATE_GATEWAY_UPSTREAM_URL": model,
            "ANTHROPIC_API_KEY": "bench-key",
            "CASEMATE_POOL_MINIMUM": "2",
            "CASEMATE_POOL_MAXIMUM": "6",
            "CASEMATE_LINK_PING_INTERVAL": "1",
            "CASEMATE_LINK_PING_LIMIT": "6",
        }
        users = dict.fromkeys(("admin", "neighbour", "pest"), PASSWORD)
        with running_casemate(environment, users=users) as casemate:
            measured = measure(casemate, options.ways, rounds=options.rounds, turns=options.turns)
            result = summary(asyncio.run(measured))
    show(result)
    target = HERE.parent / ".bench" / "neighbours.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(f"\nWritten to {target.relative_to(HERE.parent)}.")


if __name__ == "__main__":
    main()
