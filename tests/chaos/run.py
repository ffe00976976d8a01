"""A chaos run: sessions at work on the real stack while everything around them is killed and cut.

    ./just chaos --minutes 10 --seed 7

The seed decides what the people do and what goes wrong, in which order; what exactly is hit depends
on the moment. At the end everything comes to rest, and `invariants` are checked.
"""

import asyncio
import json
import random
import secrets
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from orchestrator.protocol.chat import Prompt
from orchestrator.protocol.control_events import SandboxAssigned, SandboxLost, SessionHibernated
from orchestrator.protocol.ids import ClientId
from orchestrator.protocol.sandbox_events import TurnEnded
from orchestrator.testing.background_model import background_model
from orchestrator.testing.chat_client import ApiClient
from orchestrator.testing.running_casemate import RunningCasemate, running_casemate
from orchestrator.testing.scripted_model import ScriptedModel
from tests.chaos import invariants
from tests.chaos.faults import Injector, World
from tests.chaos.follower import Follower, History, new_id, read_history
from tests.chaos.player import JOURNAL, SETTLE, Player
from tests.chaos.upstream import Road

PASSWORD = "nobody is safe in here"
PERSON = "ada"
SIGN_IN_AGAIN = 60.0
"""Seconds: an access token lives for some minutes."""
QUICK = {
    "CASEMATE_POOL_MINIMUM": "2",
    "CASEMATE_POOL_WAIT_LIMIT": "120",
}
PROFILE = """
[[profile]]
name = "default"
title = "Restless"
agent = {model = "claude-sonnet-4-5"}
lifetimes = {freeze_after = 1.0, hibernate_after = 5.0, sandbox = 45.0}
"""
"""Sessions fall asleep while their people think."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    seed: int
    seconds: float
    """While faults strike; the end takes some more."""
    sessions: int = 5
    pause: tuple[float, float] = (0.5, 4.0)
    """Seconds between two faults."""

    def text(self) -> str:
        return f"seed {self.seed}, {self.sessions} sessions, {self.seconds:.0f} s of faults"


class Report(msgspec.Struct, kw_only=True):
    plan: Plan
    violations: list[str] = []
    struck: dict[str, int]
    missed: dict[str, int]
    """Faults that found nothing to harm."""
    prompts: int
    outcomes: dict[str, int]
    failures: dict[str, int]
    """What the agent said of turns that failed, shortened."""
    lost: dict[str, int]
    assigned: dict[str, int]
    hibernated: dict[str, int]
    reconnects: int
    snapshots: int
    log: str = ""
    """Where something was violated: all that Casemate logged."""

    def text(self) -> str:
        """For a terminal."""
        lines = [
            self.plan.text(),
            "",
            f"{'fault':<26}{'struck':>8}{'missed':>8}",
        ]
        names = sorted({*self.struck, *self.missed})
        lines += [f"{n:<26}{self.struck.get(n, 0):>8}{self.missed.get(n, 0):>8}" for n in names]
        lines += [
            f"{'in all':<26}{sum(self.struck.values()):>8}{sum(self.missed.values()):>8}",
            "",
            f"prompts {self.prompts}: " + _told(self.outcomes),
            "failed turns said: " + _told(self.failures),
            "sandboxes lost: " + _told(self.lost),
            "sandboxes assigned: " + _told(self.assigned),
            "hibernated: " + _told(self.hibernated),
            f"browsers reconnected {self.reconnects} times, got {self.snapshots} snapshots",
            "",
        ]
        if not self.violations:
            return "\n".join([*lines, "No violation."])
        again = f"./just chaos --seconds {self.plan.seconds:.0f} --seed {self.plan.seed}"
        told = [f"  {one}" for one in self.violations]
        return "\n".join([*lines, f"{len(told)} violations:", *told, "", f"Again: {again}"])


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


async def run(plan: Plan, *, environment: dict[str, str] | None = None) -> Report:
    """The whole run, with a Casemate of its own."""
    key = f"sk-ant-test-{secrets.token_hex(16)}"
    with tempfile.TemporaryDirectory() as folder, background_model(require_key=key) as model:
        async with Road(model.url) as road:
            profiles = Path(folder) / "profiles.toml"
            profiles.write_text(PROFILE)
            settings = QUICK | {
                "CASEMATE_PROFILES_PATH": str(profiles),
                "ANTHROPIC_API_KEY": key,
                "CASEMATE_GATEWAY_UPSTREAM_URL": road.url,
                "CASEMATE_POOL_MAXIMUM": str(plan.sessions + 2),
                **(environment or {}),
            }
            started = running_casemate(settings, users={"admin": PASSWORD, PERSON: PASSWORD})
            casemate = await asyncio.to_thread(started.__enter__)
            try:
                return await _play(plan, casemate, road, model)
            finally:
                await asyncio.to_thread(started.__exit__, None, None, None)


async def _play(plan: Plan, casemate: RunningCasemate, road: Road, model: ScriptedModel) -> Report:
    async with signed_in(casemate) as http:
        players = [await _player(http, n, plan) for n in range(plan.sessions)]
        followers = [follower for player in players for follower in player.browsers]
        following = [asyncio.create_task(one.run(), name=one.name) for one in followers]
        injector = Injector(World(casemate, road, players), seed=plan.seed, pause=plan.pause)
        striking = asyncio.create_task(injector.run(), name="faults")
        until = time.monotonic() + plan.seconds
        try:
            playing = [asyncio.create_task(p.play(until=until), name=p.name) for p in players]
            await asyncio.sleep(plan.seconds)
            injector.stop()
            await striking
            await asyncio.gather(*playing)
            violations, histories = await _judge(http, players, model)
        finally:
            for task in (*following, striking):
                task.cancel()
            await asyncio.gather(*following, striking, return_exceptions=True)
    status = await asyncio.to_thread(casemate.stop)
    violations += _left(casemate, status=status)
    report = _report(plan, injector, players, histories)
    return msgspec.structs.replace(
        report, violations=violations, log=casemate.log if violations else ""
    )


async def _player(http: aiohttp.ClientSession, number: int, plan: Plan) -> Player:
    name = f"s{number}"
    async with http.post("/api/v1/sessions", json={"title": f"Chaos {name}"}) as answer:
        answer.raise_for_status()
        session = (await answer.json())["id"]
    browsers = [Follower(http, session, name=f"{name}/{device}") for device in ("desk", "phone")]
    return Player(name, session, browsers, seed=plan.seed)


@asynccontextmanager
async def signed_in(casemate: RunningCasemate) -> AsyncIterator[aiohttp.ClientSession]:
    """A client whose token is made anew now and then, also while the control plane is away."""
    async with ApiClient.signed_in(casemate.url, PERSON, PASSWORD) as client:
        keeping = asyncio.create_task(_stay_signed_in(client.http), name="stay-signed-in")
        try:
            yield client.http
        finally:
            keeping.cancel()


async def _stay_signed_in(http: aiohttp.ClientSession) -> None:
    body = {"username": PERSON, "password": PASSWORD}
    while True:
        await asyncio.sleep(SIGN_IN_AGAIN)
        while True:
            try:
                async with http.post("/api/v1/auth/token", json=body) as answer:
                    answer.raise_for_status()
                    token = (await answer.json())["access_token"]
            except (aiohttp.ClientError, OSError):
                await asyncio.sleep(1)
            else:
                http.headers["Authorization"] = f"Bearer {token}"
                break


# --- the judgement -------------------------------------------------------------------------------


async def _judge(
    http: aiohttp.ClientSession, players: list[Player], model: ScriptedModel
) -> tuple[list[str], list[History]]:
    violations = [player.gave_up for player in players if player.gave_up]
    histories: list[History] = []
    for player in players:
        conversation = await _probe(player, model)
        journal = await _journal(http, player.session_id)
        history = await read_history(http, player.session_id)
        histories.append(history)
        violations += _violations(player, history, journal, conversation)
    states = {p.name: p.view.state if p.view is not None else "unknown" for p in players}
    return violations + invariants.states_are_well(states), histories


def _violations(player: Player, history: History, journal: str, conversation: str) -> list[str]:
    name, events = player.name, history.events
    alone = [event for _, event in events]
    found = [
        *invariants.each_prompt_has_one_outcome(alone, name=name),
        *invariants.confirmed_prompts_are_kept(alone, player.sent.values(), name=name),
        *invariants.log_is_in_order([seq for seq, _ in events], name=name),
        *invariants.files_are_as_written(events, player.sent, journal, name=name),
        *invariants.model_remembers(events, player.sent, conversation, name=name),
    ]
    for browser in player.browsers:
        found += browser.violations
        found += invariants.browsers_saw_the_log(history.bodies, browser.durable, name=browser.name)
    return found


async def _probe(player: Player, model: ScriptedModel) -> str:
    """A last prompt, and all that the model is sent with it."""
    token = f"probe-{player.name}-{random.randrange(10**6)}"
    prompt = Prompt(client_id=ClientId(new_id()), text=f"!say 3 words\n[{token}]")
    browser = player.browsers[0]
    before = sum(isinstance(event, TurnEnded) for event in browser.events)
    await browser.until(lambda one: one._socket is not None, limit=SETTLE)
    await browser.send(prompt)
    await browser.until(
        lambda one: sum(isinstance(e, TurnEnded) for e in one.events) > before, limit=SETTLE
    )
    sent = [json.dumps(r.body) for r in model.requests if token in json.dumps(r.body)]
    return sent[-1] if sent else ""


async def _journal(http: aiohttp.ClientSession, session_id: str) -> str:
    path = f"/api/v1/sessions/{session_id}/files/content"
    async with http.get(path, params={"path": JOURNAL}) as answer:
        return await answer.text() if answer.status == 200 else ""


def _left(casemate: RunningCasemate, *, status: int) -> list[str]:
    found = [] if status == 0 else [f"the shutdown ended with {status}"]
    found += [f"container {one} was left" for one in casemate.containers()]
    found += [f"slot {one.name} was left" for one in casemate.slot_directories()]
    return found + invariants.log_is_clean(casemate.log)


def _report(
    plan: Plan,
    injector: Injector,
    players: list[Player],
    histories: list[History],
) -> Report:
    events: list[Any] = [event for history in histories for _, event in history.events]
    ends = [event for event in events if isinstance(event, TurnEnded)]
    browsers = [browser for player in players for browser in player.browsers]
    return Report(
        plan=plan,
        struck=dict(injector.struck),
        missed=dict(injector.missed),
        prompts=sum(len(player.sent) for player in players),
        outcomes=dict(Counter(e.outcome for e in ends)),
        failures=dict(Counter(_failure(e) for e in ends if e.outcome == "failed")),
        lost=dict(Counter(e.tag for e in events if isinstance(e, SandboxLost))),
        assigned=dict(Counter(e.reason for e in events if isinstance(e, SandboxAssigned))),
        hibernated=dict(Counter(e.reason for e in events if isinstance(e, SessionHibernated))),
        reconnects=sum(max(0, browser.connections - 1) for browser in browsers),
        snapshots=sum(browser.snapshots for browser in browsers),
    )


def _failure(end: TurnEnded) -> str:
    said = end.text or " ".join(end.errors) or end.subtype
    return f"{end.api_error_status or '-'} {said[:60]!r}"
