"""What sessions cost while they sleep, and how long many take to wake at once.

So many sessions, each with a conversation of two turns and a file, hibernate. Told are

    control plane      its proportional set size before, with all of them asleep, and of one that
                       was started anew and serves the list of them
    containers         that are there beside the pool's spare ones: there must be none
    wakes              so many prompts to sleeping sessions at once on a pool of four spare ones:
                       until the first token of each, and until the request for it was at the model

Prints, and writes `.bench/asleep.json`.
"""

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import Any

from neighbours import figures_of
from session_at_work import Person, Taken, hibernated, sign_in_again
from start import HERE, PASSWORD, until_full

from orchestrator.protocol.chat import Hibernate
from orchestrator.testing.background_model import background_model
from orchestrator.testing.chat_client import ApiClient
from orchestrator.testing.running_casemate import RunningCasemate, running_casemate
from orchestrator.testing.scripted_model import ScriptedModel

KEY = "bench-key"
SPARE = 4
AT_ONCE = 2
"""Sessions that are made at the same time."""
WARM = 4
"""Sessions before anything is measured: what every control plane loads once."""
MIB = 1 << 20
AIM_MIB = 100
SETTLE = 3.0
"""Seconds before memory is read."""


def pss(pid: int) -> int:
    """Bytes of one process; what it shares with others counts in part."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


async def put_one_to_sleep(api: ApiClient, model: ScriptedModel) -> str:
    person = Person(api, model)
    await person.begin()
    await person.run("date >now")
    await person.chat.turn("!say 60 words")
    await person.rests()
    await person.chat.send(Hibernate())
    await hibernated(person.chat)
    await person.go_away()
    return person.session


async def put_to_sleep(api: ApiClient, model: ScriptedModel, number: int) -> list[str]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one() -> str:
        async with gate:
            await sign_in_again(api, "admin", PASSWORD)
            return await put_one_to_sleep(api, model)

    made: list[str] = []
    for making in asyncio.as_completed([one() for _ in range(number)]):
        made.append(await making)
        if len(made) % 20 == 0:
            print(f"    {len(made)} asleep", flush=True)
    return made


async def wake_one(api: ApiClient, model: ScriptedModel, session: str) -> Taken:
    """Its person opens it and prompts at once."""
    person = Person(api, model, session)
    began = time.perf_counter()
    await person.come_back()
    taken = await person.first_of("!say 12 words", since=began)
    await person.go_away()
    return taken


async def beside_the_pool(casemate: RunningCasemate, api: ApiClient) -> int:
    """Containers that are nobody's spare ones."""
    await until_full(api)
    _, body, _ = await api.request("GET", "/api/v1/admin/pools")
    spare = sum(pool["ready"] for pool in body["pools"])
    return len(await asyncio.to_thread(casemate.containers)) - int(spare)


async def states(api: ApiClient) -> dict[str, int]:
    found: dict[str, int] = {}
    cursor = ""
    while True:
        query = f"?limit=100{cursor and f'&cursor={cursor}'}"
        _, page, _ = await api.request("GET", f"/api/v1/sessions{query}")
        for session in page["sessions"]:
            found[session["state"]] = found.get(session["state"], 0) + 1
        if not page.get("next_cursor"):
            return found
        cursor = page["next_cursor"]


async def settled_pss(casemate: RunningCasemate, api: ApiClient) -> int:
    await until_full(api)
    await asyncio.sleep(SETTLE)
    return pss(casemate.pid)


async def measure(casemate: RunningCasemate, model: ScriptedModel, plan: Any) -> dict[str, Any]:
    async with signed_in(casemate) as api:
        await put_to_sleep(api, model, WARM)
        before = await settled_pss(casemate, api)
        sleepers = await put_to_sleep(api, model, plan.sessions)
        asleep = await settled_pss(casemate, api)
        containers, counted = await beside_the_pool(casemate, api), await states(api)
    await asyncio.to_thread(casemate.stop)
    await asyncio.to_thread(casemate.start)
    async with signed_in(casemate) as api:
        counted_again = await states(api)
        anew = await settled_pss(casemate, api)
        waking = [wake_one(api, model, session) for session in sleepers[: plan.wakes]]
        woken = await asyncio.gather(*waking)
    return {
        "sessions": plan.sessions,
        "states": counted,
        "states_after_restart": counted_again,
        "containers_beside_the_pool": containers,
        "pss_mib": {"before": before / MIB, "asleep": asleep / MIB, "after_restart": anew / MIB},
        "pss_delta_mib": (asleep - before) / MIB,
        "wakes": {
            "at_once": plan.wakes,
            "spare": SPARE,
            "token": figures_of([one.token for one in woken]),
            "asked": figures_of([one.asked for one in woken if one.asked is not None]),
            "first_ms": round(min(one.token for one in woken) * 1000, 1),
            "last_ms": round(max(one.token for one in woken) * 1000, 1),
        },
        "aim": {"pss_delta_mib": AIM_MIB, "containers_beside_the_pool": 0},
    }


def signed_in(casemate: RunningCasemate) -> Any:
    return ApiClient.signed_in(casemate.url, "admin", PASSWORD)


def show(result: dict[str, Any]) -> None:
    memory, wakes = result["pss_mib"], result["wakes"]
    print(f"\n{result['sessions']} sessions: {result['states']}")
    print(f"  after a restart: {result['states_after_restart']}")
    print(f"containers beside the pool {result['containers_beside_the_pool']:6} (aim 0)")
    for name, size in memory.items():
        print(f"control plane, {name:14}{size:9.1f} MiB")
    print(f"control plane, more          {result['pss_delta_mib']:9.1f} MiB (aim {AIM_MIB})")
    print(f"{wakes['at_once']} wakes at once, {wakes['spare']} spare sandboxes, milliseconds:")
    for what in ("token", "asked"):
        told = "  ".join(f"{name} {value:g}" for name, value in wakes[what].items())
        print(f"  {what:8}{told}")
    print(f"  first {wakes['first_ms']:g}, last {wakes['last_ms']:g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--wakes", type=int, default=20)
    plan = parser.parse_args()
    with background_model(require_key=KEY) as model:
        environment = {
            "CASEMATE_GATEWAY_UPSTREAM_URL": model.url,
            "ANTHROPIC_API_KEY": KEY,
            "CASEMATE_POOL_MINIMUM": str(SPARE),
            "CASEMATE_POOL_MAXIMUM": str(SPARE + plan.wakes),
            "CASEMATE_POOL_WAIT_LIMIT": "120",
            "CASEMATE_SESSIONS_MAX_OPEN_PER_USER": str(plan.sessions + WARM + AT_ONCE),
            "CASEMATE_TELEMETRY_LOG_LEVEL": "warning",
        }
        with running_casemate(environment, users={"admin": PASSWORD}) as casemate:
            result = asyncio.run(measure(casemate, model, plan))
    show(result)
    target = HERE.parent / ".bench" / "asleep.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(f"\nWritten to {target.relative_to(HERE.parent)}.")


if __name__ == "__main__":
    main()
