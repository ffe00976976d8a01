"""How long until a session goes on after its sandbox died, rested or was exchanged.

One session after the other, each with 20 MiB in 200 files and a conversation of ten turns. Each
goes through every kind once, in an order that shifts from round to round:

    ... in a turn      killed while words arrive; the prompt is run again as soon as that is offered
    ... between turns  killed while nothing runs; the next prompt is sent when the loss is shown
    wake               hibernated, nobody was there: prompt -> first token
    thaw               frozen: prompt -> first token
    exchange           its memory was full: from when that is shown, with a prompt at once
    adopted            the control plane is killed in a turn, and started again -> the next token
    go back            the wish to be at the first checkpoint, with a prompt at once

`CLI`, `shim` and `container` are killed with SIGKILL, from that moment on; `memory`: the kernel
kills the CLI because something that it cannot kill took the container's memory. Beside them, taken
in the same rounds:

    new                HTTP `POST /sessions` -> first token of the first prompt
    connected          the same prompt to a bare `ClaudeSDKClient`, connected already, on the host

`token` is the first one in the browser, `asked` the request for it at the scripted model. Prints
medians, p95, spread (first to third quarter) and ratios to `new`; writes `.bench/recovery.json`.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from neighbours import figures_of
from session_at_work import Person, Taken, beyond, frozen, hibernated, reach, sign_in_again
from start import HERE, PASSWORD, bare_environment, connected_round, until_full

from orchestrator.protocol.chat import GoBack, Hibernate
from orchestrator.protocol.control_events import (
    LimitReached,
    SandboxAssigned,
    SandboxLost,
    WentBack,
)
from orchestrator.testing.background_model import background_model
from orchestrator.testing.chat_client import ApiClient
from orchestrator.testing.running_casemate import RunningCasemate, running_casemate
from orchestrator.testing.scripted_model import ScriptedModel
from tests.chaos import squeeze, victims

KEY = "bench-key"
PROMPT = "!say 12 words"
WAKE_AIM = 1500.0
"""Milliseconds from the prompt to the request for its first token."""
PROFILES = """
[[profile]]
name = "default"
title = "Bench"
agent = { model = "claude-sonnet-4-5" }
resources = { memory = 805306368, tmp = 67108864, home = 67108864, workspace = 134217728 }
lifetimes = { freeze_after = 10.0, memory_hard = 0.75 }
"""
"""Small, so that memory is full soon; and frozen soon."""
FULL = 0.8
"""Above `memory_hard`."""


class Bench:
    """What each kind needs."""

    def __init__(self, casemate: RunningCasemate, model: ScriptedModel, api: ApiClient) -> None:
        self.casemate = casemate
        self.model = model
        self.api = api


Kind = Callable[[Bench, Person], Awaitable[Taken]]
Kill = Callable[[str], float]
"""Of a sandbox: when it was done."""


# --- how things die ------------------------------------------------------------------------------


def kill_cli(sandbox: str) -> float:
    return _killed(victims.cli_of(sandbox))


def kill_shim(sandbox: str) -> float:
    return _killed(victims.shim_of(sandbox))


def kill_container(sandbox: str) -> float:
    """Its first process, as the engine would."""
    name = victims.container_of(sandbox)
    return _killed(int(victims.docker("inspect", "-f", "{{.State.Pid}}", name)))


def _killed(pid: int) -> float:
    now = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    return now


def in_a_turn(kill: Kill) -> Kind:
    async def kind(_: Bench, person: Person) -> Taken:
        since, mark = await person.talk()
        began = await asyncio.to_thread(kill, person.sandbox)
        return await person.run_again(since, mark, began=began)

    return kind


def between_turns(kill: Kill) -> Kind:
    async def kind(_: Bench, person: Person) -> Taken:
        await person.chat.turn(PROMPT)  # so that it is not frozen
        await person.rests()
        before = person.chat.seq
        began = await asyncio.to_thread(kill, person.sandbox)
        await person.chat.next(SandboxLost, after=before)
        return await person.first_of(PROMPT, since=began)

    return kind


# --- how things rest and change ------------------------------------------------------------------


async def wake(bench: Bench, person: Person) -> Taken:
    await person.chat.send(Hibernate())
    await hibernated(person.chat)
    await until_full(bench.api)
    return await person.first_of(PROMPT, since=time.perf_counter())


async def thaw(_: Bench, person: Person) -> Taken:
    await frozen(person.chat)
    return await person.first_of(PROMPT, since=time.perf_counter())


async def exchange(_: Bench, person: Person) -> Taken:
    await person.chat.turn(PROMPT)
    before = person.chat.seq
    await asyncio.to_thread(lambda: squeeze.leave(person.sandbox, part=FULL))
    seq, _reached = await person.chat.next(LimitReached, after=before)
    return await person.first_of(PROMPT, since=person.chat.arrived[seq])


async def go_back(_: Bench, person: Person) -> Taken:
    before, began = person.chat.seq, time.perf_counter()
    await person.chat.send(GoBack(checkpoint_id=person.checkpoint))
    await person.chat.next(WentBack, after=before)
    return await person.first_of(PROMPT, since=began)


async def adopted(bench: Bench, person: Person) -> Taken:
    """The browser tries again every tenth of a second. The agent asks the model once more: its
    answer came through the control plane."""
    await person.talk()
    known = reach(person.chat)
    began = time.perf_counter()
    await asyncio.to_thread(lambda: bench.casemate.stop(with_signal=signal.SIGKILL))
    await person.go_away()
    starting = asyncio.create_task(asyncio.to_thread(bench.casemate.start), name="start-again")
    await _come_back(person)
    seq = await person.chat.until(lambda c: beyond(c, known))
    await starting
    await person.stop(after=0)
    return Taken(person.chat.arrived[seq] - began)


async def _come_back(person: Person) -> None:
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                return await person.come_back()
            await asyncio.sleep(0.1)


KINDS: dict[str, Kind] = {
    "CLI, in a turn": in_a_turn(kill_cli),
    "shim, in a turn": in_a_turn(kill_shim),
    "container, in a turn": in_a_turn(kill_container),
    "memory, in a turn": in_a_turn(squeeze.overfill),
    "CLI, between turns": between_turns(kill_cli),
    "shim, between turns": between_turns(kill_shim),
    "container, between turns": between_turns(kill_container),
    "memory, between turns": between_turns(squeeze.overfill),
    "wake": wake,
    "thaw": thaw,
    "exchange": exchange,
    "adopted": adopted,
    "go back": go_back,
}
NEW, CONNECTED = "new", "connected"


# --- measuring -----------------------------------------------------------------------------------


class Figures:
    """What was taken, by kind; None for one that did not go on."""

    def __init__(self, kinds: list[str]) -> None:
        self.taken: dict[str, list[Taken | None]] = {name: [] for name in (NEW, CONNECTED, *kinds)}

    def add(self, name: str, taken: Taken | None) -> None:
        self.taken[name].append(taken)
        told = "failed" if taken is None else f"{taken.token * 1000:7.0f} ms"
        asked = "" if taken is None or taken.asked is None else f"{taken.asked * 1000:7.0f} ms"
        print(f"    {name:26}{told:>12}{asked:>12}", flush=True)


async def measure(casemate: RunningCasemate, model: ScriptedModel, plan: Any) -> Figures:
    figures = Figures(plan.kinds)
    async with ApiClient.signed_in(casemate.url, "admin", PASSWORD) as api:
        bench = Bench(casemate, model, api)
        for number in range(plan.rounds):
            print(f"  round {number + 1} of {plan.rounds}", flush=True)
            await sign_in_again(api, "admin", PASSWORD)
            await baselines(bench, figures)
            shift = number % len(plan.kinds)
            await one_round(bench, plan.kinds[shift:] + plan.kinds[:shift], figures)
    return figures


async def baselines(bench: Bench, figures: Figures) -> None:
    await until_full(bench.api)
    began = time.perf_counter()
    async with Person(bench.api, bench.model) as person:
        figures.add(NEW, await person.first_of(PROMPT, since=began))
    await until_full(bench.api)
    environment = bare_environment(bench.model.url) | {"ANTHROPIC_API_KEY": KEY}
    figures.add(CONNECTED, Taken(await connected_round(environment, PROMPT)))


async def one_round(bench: Bench, kinds: list[str], figures: Figures) -> None:
    """A session that does not go on is followed by another one."""
    waiting = list(kinds)
    while waiting:
        async with Person(bench.api, bench.model) as person:
            await person.prepare()
            while waiting:
                name = waiting.pop(0)
                taken = await tried(bench, person, KINDS[name])
                figures.add(name, taken)
                if taken is None:
                    break


async def tried(bench: Bench, person: Person, kind: Kind) -> Taken | None:
    await until_full(bench.api)
    before = person.chat.seq
    try:
        taken = await kind(bench, person)
        await person.rests()
    except (TimeoutError, ConnectionError, victims.NoVictim) as error:
        print(f"    {error!r}; {person.chat.view}")
        return None
    assigned = [e for s, e in person.chat.events if s > before and isinstance(e, SandboxAssigned)]
    lost = [e for e in assigned if e.reason != "new" and e.restored_bytes < 20 << 20]
    assert not lost, f"Files are missing after {lost}."
    return taken


# --- telling -------------------------------------------------------------------------------------


def summary(figures: Figures) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, taken in figures.taken.items():
        done = [one for one in taken if one is not None]
        told[name] = {
            "token": figures_of([one.token for one in done]),
            "asked": figures_of([one.asked for one in done if one.asked is not None]),
            "failed": len(taken) - len(done),
        }
    new = told[NEW]["token"].get("median_ms")
    for figure in told.values():
        median = figure["token"].get("median_ms")
        figure["x_new"] = round(median / new, 2) if median and new else None
    return {"kinds": told, "aim": {"wake, asked, ms": WAKE_AIM}}


def show(result: dict[str, Any]) -> None:
    heads = ("median", "p95", "spread")
    row = "".join(f"{head:>8}" for head in heads)
    print(f"\n{'':26}{'token':>24}{'asked':>24}\n{'what':26}{row}{row}{'x new':>8}   n  failed")
    for name, figure in result["kinds"].items():
        cells = [
            _cell(figure[what].get(f"{head}_ms")) for what in ("token", "asked") for head in heads
        ]
        ratio = f"{figure['x_new']:8.2f}" if figure["x_new"] else f"{'-':>8}"
        times = figure["token"].get("n", 0)
        print(f"{name:26}{''.join(cells)}{ratio}{times:4}{figure['failed']:8}")
    asked = result["kinds"].get("wake", {}).get("asked", {})
    if asked:
        print(f"wake, asked: p95 {asked['p95_ms']:.0f} ms (aim {WAKE_AIM:.0f}). Milliseconds.")


def _cell(value: float | None) -> str:
    return f"{'-':>8}" if value is None else f"{value:8.0f}"


def arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("kinds", nargs="*", default=list(KINDS), help=", ".join(KINDS))
    plan = parser.parse_args()
    if unknown := set(plan.kinds) - set(KINDS):
        parser.error(f"There is no {', '.join(sorted(unknown))}.")
    return plan


def main() -> None:
    plan = arguments()
    with background_model(require_key=KEY) as model, tempfile.TemporaryDirectory() as folder:
        profiles = Path(folder, "profiles.toml")
        profiles.write_text(PROFILES)
        environment = {
            "CASEMATE_GATEWAY_UPSTREAM_URL": model.url,
            "ANTHROPIC_API_KEY": KEY,
            "CASEMATE_PROFILES_PATH": str(profiles),
            "CASEMATE_POOL_MINIMUM": "2",
            "CASEMATE_POOL_MAXIMUM": "6",
            "CASEMATE_TELEMETRY_LOG_LEVEL": "warning",
        }
        with running_casemate(environment, users={"admin": PASSWORD}) as casemate:
            result = summary(asyncio.run(measure(casemate, model, plan)))
    show(result)
    target = HERE.parent / ".bench" / "recovery.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(f"\nWritten to {target.relative_to(HERE.parent)}.")


if __name__ == "__main__":
    main()
