"""Whatever happens in whatever order: every prompt has one outcome, and no event is missing."""

import asyncio
from collections import Counter

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.protocol.chat import Ending, GiveAnswer, Hibernate, LetGo, RunAgain, Stop, Wake
from orchestrator.protocol.control_events import (
    PromptAccepted,
    PromptRemoved,
    SandboxAssigned,
    TurnStarted,
)
from orchestrator.protocol.sandbox_events import MemoryMeasured, TurnEnded
from orchestrator.sessions.errors import RuleBroken
from orchestrator.sessions.profiles import Lifetimes
from orchestrator.testing.chat_client import decision_on
from orchestrator.testing.session_world import ANNA, PROFILE, World, eventually

GONE = Ending(tag="out_of_memory", sentence="The sandbox ran out of memory.")
TEXTS = ("hello", "!bash ls", "!ask", "!slow 0.01", "!fail 503", "!die", "!say 30 words")
ACTIONS = st.one_of(
    st.sampled_from(TEXTS).map(lambda text: ("say", text)),
    st.sampled_from(
        ["stop", "answer", "hibernate", "wake", "again", "let_go", "kill", "crash", "full"]
    ).map(lambda what: (what, "")),
    st.sampled_from(["0", "0.02"]).map(lambda seconds: ("wait", seconds)),
)


class Chaos:
    """One session in a world where things are done to it."""

    def __init__(self, world, session_id):
        self.world = world
        self.id = session_id
        self.prompts = 0

    async def do(self, what, detail):
        """What is refused was not done, and that is fine."""
        try:
            await getattr(self, f"do_{what}")(detail)
        except RuleBroken:
            return

    async def do_say(self, text):
        self.prompts += 1
        await self.world.say(self.id, text, client_id=f"p{self.prompts}")

    async def do_stop(self, _):
        await self.world.command(self.id, Stop())

    async def do_answer(self, _):
        view = await self.world.sessions.view(ANNA, self.id)
        for request in view.permissions:
            await self.world.command(self.id, decision_on(request, "allow"))
        for asked in view.questions:
            answers = {question.question: "Red" for question in asked.questions}
            await self.world.command(
                self.id, GiveAnswer(question_id=asked.question_id, answers=answers)
            )

    async def do_hibernate(self, _):
        await self.world.command(self.id, Hibernate())

    async def do_wake(self, _):
        await self.world.command(self.id, Wake())

    async def do_again(self, _):
        view = await self.world.sessions.view(ANNA, self.id)
        if view.unfinished is not None:
            self.prompts += 1
            again = RunAgain(client_id=f"p{self.prompts}", unfinished=view.unfinished.client_id)
            await self.world.command(self.id, again)

    async def do_let_go(self, _):
        view = await self.world.sessions.view(ANNA, self.id)
        if view.unfinished is not None:
            await self.world.command(self.id, LetGo(unfinished=view.unfinished.client_id))

    async def do_kill(self, _):
        for sandbox in list(self.world.pool.live):
            sandbox.lose(GONE)

    async def do_crash(self, _):
        """Nothing of the process goes on; its sandboxes do."""
        dead = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        dead = [task for task in dead if not task.get_name().startswith("fake-")]
        while dead:
            for task in dead:
                task.cancel()
            await asyncio.wait(dead)
            dead = [t for t in asyncio.all_tasks() if t.get_name().startswith("session-")]
        self.world.pool.restart()
        self.world.sessions = self.world.new_process()
        await self.world.sessions.start()

    async def do_full(self, _):
        for sandbox in list(self.world.pool.live):
            sandbox.say(MemoryMeasured(usage=99, working_set=97, limit=100))

    async def do_wait(self, seconds):
        await asyncio.sleep(float(seconds))

    async def settled(self):
        """Answer and let go until nothing more happens by itself."""
        for _ in range(100):
            view = await self.world.sessions.view(ANNA, self.id)
            if view.state in {"idle", "hibernated"} and not view.turn_id and not view.queue:
                return
            await self.do("answer", "")
            await self.do("let_go", "")
            await self.do("wake", "")
            await asyncio.sleep(0.01)
        raise AssertionError(view)


async def run(actions):
    lifetimes = Lifetimes(freeze_after=0.05, hibernate_after=1.0)
    world = World(size=3, profile=msgspec.structs.replace(PROFILE, lifetimes=lifetimes))
    await world.sessions.start()
    chaos = Chaos(world, (await world.create()).id)
    try:
        async with asyncio.timeout(20):
            for what, detail in actions:
                await chaos.do(what, detail)
            await chaos.settled()
            await world.sessions.close()
    finally:
        await world.pool.close()
    check(world, chaos.id)


def check(world, session_id):
    events = world.logged(session_id)
    seqs = [entry.seq for entry in world.database.events[session_id]]
    assert seqs == sorted(set(seqs))
    accepted = [e.client_id for e in events if isinstance(e, PromptAccepted)]
    started = {e.client_id: e.turn_id for e in events if isinstance(e, TurnStarted)}
    ended = Counter(e.turn_id for e in events if isinstance(e, TurnEnded))
    removed = {e.client_id for e in events if isinstance(e, PromptRemoved)}
    assert len(set(accepted)) == len(accepted)
    assert set(started) | removed == set(accepted)
    assert [ended[turn_id] for turn_id in started.values()] == [1] * len(started)
    assert sum(isinstance(e, TurnStarted) for e in events) == len(started)
    assigned = [e.sandbox_id for e in events if isinstance(e, SandboxAssigned)]
    assert len(set(assigned)) == len(assigned)
    assert not world.pool.live


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ACTIONS, max_size=14))
def test_every_prompt_has_exactly_one_outcome(actions):
    """In any order of prompts, stops, answers, deaths, crashes and naps: each accepted prompt has
    one turn with one end, nothing is numbered twice, no sandbox is left."""
    asyncio.run(run(actions))


async def test_no_session_task_is_left(make_world):
    """When its sessions rest, nothing runs on behalf of any."""
    world = make_world()
    for _ in range(2):
        session = await world.create()
        async with world.browser(session.id) as browser:
            await world.say(session.id, "hello")
            await browser.until(lambda b: b.of(TurnEnded))
            await browser.until(lambda b: b.view.checkpoint_id)
            await world.command(session.id, Hibernate())
            await browser.until_state("hibernated")

    def left():
        return [t for t in asyncio.all_tasks() if t.get_name().startswith("session-")]

    await eventually(lambda: not left())
