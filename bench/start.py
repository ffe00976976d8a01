"""How long until Claude answers: a session of Casemate against the ways one would have without it.

Five ways, taken in turn within one run so that they share the machine's moods, all against the same
scripted model in a process of its own:

    ready          HTTP `POST /sessions` -> the session has its sandbox
    casemate       prompt sent in that new session -> first token in the browser protocol
    connected      the same prompt to a bare `ClaudeSDKClient`, connected already, on the host
    cold           a bare client in a new process: process start -> first token
    container      a new container per session with the same image: create -> first token

Prints medians, p95 and the ratios, and writes `.bench/start.json`.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from orchestrator.protocol.sandbox_events import BlockDelta, TextWritten, TurnEnded
from orchestrator.testing.chat_client import ApiClient
from orchestrator.testing.running_casemate import RunningCasemate, free_port, running_casemate

HERE = Path(__file__).parent
PASSWORD = "a bench needs no secrets"
PROMPT = "hello"
IMAGE = "casemate-sandbox:current"
AIMS = {
    "ready_ms": 10.0,
    "casemate / connected": 1.2,
    "cold / casemate": 8.0,
    "container / casemate": 8.0,
}


def bare_environment(model: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANTHROPIC", "CLAUDE"))}
    return kept | {
        "ANTHROPIC_BASE_URL": model,
        "ANTHROPIC_API_KEY": "not-a-secret",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_ERROR_REPORTING": "1",
    }


@contextlib.contextmanager
def scripted_model() -> Any:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "demo-model", "--port", str(port)],
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError):
                import socket

                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            if time.monotonic() > deadline:
                raise RuntimeError("The scripted model does not answer.")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


async def casemate_round(api: ApiClient) -> dict[str, float]:
    started = time.perf_counter()
    session = await api.create()
    ready = time.perf_counter() - started
    async with api.chat(session["id"]) as chat:
        sent = time.perf_counter()
        before = await chat.prompt(PROMPT)
        seq = await chat.until(
            lambda c: next(
                (s for s, e in c.events if s > before and isinstance(e, BlockDelta | TextWritten)),
                None,
            )
        )
        first = chat.arrived[seq] - sent
        await chat.next(TurnEnded, after=before)
    await api.end(session["id"])
    return {"ready": ready, "casemate": first}


@contextlib.asynccontextmanager
async def bare_process(
    environment: dict[str, str], *options: str, prompt: str = PROMPT
) -> AsyncIterator[asyncio.subprocess.Process]:
    with tempfile.TemporaryDirectory() as home:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(HERE / "bare_client.py"),
            "--prompt",
            prompt,
            *options,
            env=environment | {"HOME": home, "CLAUDE_CONFIG_DIR": f"{home}/.claude"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        yield process
        await process.wait()


async def read_line(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    return dict(json.loads(await asyncio.wait_for(process.stdout.readline(), 120)))


async def connected_round(environment: dict[str, str], prompt: str = PROMPT) -> float:
    async with bare_process(environment, "--wait", prompt=prompt) as process:
        await read_line(process)
        await asyncio.sleep(1.0)  # as idle as a pool's member is when it is claimed
        assert process.stdin is not None
        process.stdin.write(b"\n")
        return float((await read_line(process))["first_token_after_prompt"])


async def cold_round(environment: dict[str, str]) -> float:
    async with bare_process(environment, "--started-at", repr(time.time())) as process:
        return float((await read_line(process))["first_token_after_start"])


async def container_round(environment: dict[str, str]) -> float:
    given = {
        k: v for k, v in environment.items() if k.startswith(("ANTHROPIC", "CLAUDE", "DISABLE"))
    }
    flags = [flag for name, value in given.items() for flag in ("-e", f"{name}={value}")]
    started = time.time()
    process = await asyncio.create_subprocess_exec(
        *("docker", "run", "--rm", "--network", "host", "--init", "--user", "20000:20000"),
        *("-e", "HOME=/tmp", "-v", f"{HERE}:/bench:ro", *flags, IMAGE),
        *("/opt/casemate/bin/python3", "/bench/bare_client.py"),
        *("--prompt", PROMPT, "--started-at", repr(started)),
        stdout=asyncio.subprocess.PIPE,
    )
    result = await read_line(process)
    await process.wait()
    return float(result["first_token_after_start"])


async def measure(casemate: RunningCasemate, model: str, rounds: int) -> dict[str, list[float]]:
    environment = bare_environment(model)
    taken: dict[str, list[float]] = {
        name: [] for name in ("ready", "casemate", "connected", "cold", "container")
    }
    async with ApiClient.signed_in(casemate.url, "admin", PASSWORD) as api:
        for turn in range(-1, rounds):
            await until_full(api)
            figures = await casemate_round(api)
            await until_full(api)
            figures["connected"] = await connected_round(environment)
            figures["cold"] = await cold_round(environment)
            figures["container"] = await container_round(environment)
            if turn < 0:
                continue  # the first round warms the page cache, for everybody
            for name, value in figures.items():
                taken[name].append(value)
            print(f"  {turn + 1:2}/{rounds}  " + row(figures), flush=True)
    return taken


async def until_full(api: ApiClient) -> None:
    """Wait until the pool has nothing left to start: a refill must not disturb what is timed."""
    while True:
        _, pools, _ = await api.request("GET", "/api/v1/admin/pools")
        pools = pools["pools"] if isinstance(pools, dict) else pools
        if all(pool["ready"] >= pool["min"] and not pool["starting"] for pool in pools):
            await asyncio.sleep(0.3)
            return
        await asyncio.sleep(0.1)


def row(figures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value * 1000:7.1f}" for name, value in figures.items())


def summary(taken: dict[str, list[float]]) -> dict[str, Any]:
    def stats(values: list[float]) -> dict[str, float]:
        ordered = sorted(values)
        return {
            "median_ms": round(statistics.median(ordered) * 1000, 2),
            "p95_ms": round(ordered[max(0, -(-len(ordered) * 95 // 100) - 1)] * 1000, 2),
            "min_ms": round(ordered[0] * 1000, 2),
            "max_ms": round(ordered[-1] * 1000, 2),
            "n": len(ordered),
        }

    figures = {name: stats(values) for name, values in taken.items()}
    median = {name: figure["median_ms"] for name, figure in figures.items()}
    ratios = {
        "casemate / connected": round(median["casemate"] / median["connected"], 3),
        "cold / casemate": round(median["cold"] / median["casemate"], 2),
        "container / casemate": round(median["container"] / median["casemate"], 2),
    }
    return {"figures": figures, "ratios": ratios, "aims": AIMS}


def show(result: dict[str, Any]) -> None:
    print(f"\n{'what':12}{'median ms':>12}{'p95 ms':>12}{'min':>10}{'max':>10}   n")
    for name, f in result["figures"].items():
        print(
            f"{name:12}{f['median_ms']:12.1f}{f['p95_ms']:12.1f}{f['min_ms']:10.1f}"
            f"{f['max_ms']:10.1f}{f['n']:4}"
        )
    for name, ratio in result["ratios"].items():
        print(f"{name:24}{ratio:8.2f}   (aim {AIMS[name]:g})")
    print(f"{'ready, median':24}{result['figures']['ready']['median_ms']:8.2f} ms (aim 10)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    with scripted_model() as model:
        environment = {
            "CASEMATE_GATEWAY_UPSTREAM_URL": model,
            "ANTHROPIC_API_KEY": "bench-key",
            "CASEMATE_POOL_MINIMUM": "2",
            "CASEMATE_POOL_MAXIMUM": "6",
            "CASEMATE_TELEMETRY_LOG_LEVEL": "warning",
        }
        with running_casemate(environment, users={"admin": PASSWORD}) as casemate:
            result = summary(asyncio.run(measure(casemate, model, options.rounds)))
    show(result)
    target = HERE.parent / ".bench" / "start.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(f"\nWritten to {target.relative_to(HERE.parent)}.")


if __name__ == "__main__":
    main()
