"""The control plane is killed at every single thing that it does in a session's life, and started
anew on what is left: nothing is lost, nothing happens twice, nothing is left behind.

A killed process does nothing any more, not even what its `finally`s say: from the fatal call on,
none of its calls reaches the world.
"""

import asyncio
import collections
import contextlib
import inspect
import random

import msgspec

from orchestrator.protocol.chat import (
    End,
    Ending,
    Events,
    GoBack,
    Hibernate,
    LetGo,
    Resume,
    SessionChanged,
    Snapshot,
    TakeCheckpoint,
    server_frame_codec,
)
from orchestrator.protocol.control_events import (
    PromptAccepted,
    PromptUnfinished,
    SandboxAssigned,
    SessionEnded,
    TurnStarted,
    WentBack,
)
from orchestrator.protocol.sandbox_events import TextWritten, TurnEnded
from orchestrator.sessions.clock import SystemClock
from orchestrator.sessions.errors import RuleBroken
from orchestrator.sessions.ports import Ports
from orchestrator.sessions.profiles import FixedProfiles
from orchestrator.sessions.service import Sessions
from orchestrator.testing.chat_client import decision_on
from orchestrator.testing.fake_sandbox import FakeSandbox
from orchestrator.testing.session_world import ANNA, LIMITS, World, eventually

replace = msgspec.structs.replace

STEP_SECONDS = 30.0
QUICK = replace(LIMITS, death_grace_seconds=0.002, sync_seconds=0.2, resume_seconds=0.5)
AT_ONCE = 8
"""Lives that are lived beside each other: much in them is waiting."""


class Fuse:
    """The life of one process: `calls` that it made of the world, of which the one numbered
    `fatal` is its last; that one happens, and nobody learns of it."""

    def __init__(self, fatal=None):
        self.fatal = fatal
        self.calls = 0
        self.last = ""
        self.blown = asyncio.Event()
        self._buried = asyncio.Event()

    def burn(self, name):
        """Whether this was one too many."""
        if self.blown.is_set():
            return True
        self.calls += 1
        self.last = name
        if self.calls == self.fatal:
            self.blown.set()
        return self.blown.is_set()

    async def end(self):
        """For whoever is dead: nothing happens any more, until what is left of it is cleared."""
        await self._buried.wait()
        raise asyncio.CancelledError

    def bury(self):
        self.blown.set()
        self._buried.set()


class Mortal:
    """Something of the world as one process has it in hand."""

    def __init__(self, thing, fuse, name):
        self._thing, self._fuse, self._name = thing, fuse, name

    def __getattr__(self, name):
        found = getattr(self._thing, name)
        called = f"{self._name}.{name}"
        if name == "workspace":
            return Mortal(found, self._fuse, called)
        if not callable(found):
            return found
        if inspect.iscoroutinefunction(found):
            return self._awaited(found, called)
        if inspect.isasyncgenfunction(found):
            return self._iterated(found, called)
        if inspect.isasyncgenfunction(inspect.unwrap(found)):
            return self._entered(found, called)
        return self._called(found, called)

    def _awaited(self, work, name):
        async def call(*args, **kwargs):
            if self._fuse.blown.is_set():
                await self._fuse.end()
            result = await work(*args, **kwargs)
            if self._fuse.burn(name):
                await self._fuse.end()
            return Mortal(result, self._fuse, "sandbox") if is_sandbox(result) else result

        return call

    def _iterated(self, work, name):
        async def call(*args, **kwargs):
            if self._fuse.blown.is_set():
                await self._fuse.end()
            async for piece in work(*args, **kwargs):
                if self._fuse.burn(name):
                    await self._fuse.end()
                yield piece

        return call

    def _entered(self, work, name):
        @contextlib.asynccontextmanager
        async def call(*args, **kwargs):
            if self._fuse.burn(name):
                await self._fuse.end()
            async with work(*args, **kwargs) as inside:
                yield inside

        return call

    def _called(self, work, name):
        def call(*args, **kwargs):
            if not self._fuse.blown.is_set():
                result = work(*args, **kwargs)
                self._fuse.burn(name)
                return result
            return None

        return call


def is_sandbox(thing):
    return isinstance(thing, FakeSandbox)


class MortalWorld(World):
    """`fatal`: the call at which each process dies, one after the other; the next ones live."""

    def __init__(self, fatal):
        self._fatal = list(fatal)
        self.is_started = True
        super().__init__(limits=QUICK, patience=2.0)

    def new_process(self):
        self.fuse = Fuse(self._fatal.pop(0) if self._fatal else None)
        names = ("store", "log", "pool", "transcripts", "checkpoints", "blobs")
        mortal = {name: Mortal(getattr(self, name), self.fuse, name) for name in names}
        ports = Ports(
            **mortal, catalogue=FixedProfiles([self.profile]), clock=SystemClock(), host=self.host
        )
        return Sessions(ports, self.limits)

    @property
    def session_id(self):
        [session_id] = self.database.sessions
        return session_id

    @property
    def sandbox(self):
        """In which the session is, by its log."""
        named = [e.sandbox_id for e in self.log_of(SandboxAssigned)]
        return next((s for s in self.pool.made if s.id == named[-1]), None) if named else None

    def log_of(self, kind):
        return [e for e in self.logged(self.session_id) if isinstance(e, kind)]

    def turn_of(self, client_id):
        return next((e for e in self.log_of(TurnStarted) if e.client_id == client_id), None)

    def is_done(self, client_id):
        """The prompt came to an outcome."""
        turn = self.turn_of(client_id)
        return turn is not None and turn.turn_id in {e.turn_id for e in self.log_of(TurnEnded)}


# --- what a person does ------------------------------------------------------------------------
#
# Each step may be begun again after a crash, as a page does: prompts under the same id, decisions
# only where something is still open.


class Person:
    def __init__(self, world):
        self.world = world
        self.first = ""
        """The checkpoint with file `a` as 1."""

    def steps(self):
        return [
            self.create,
            self.ask_for_a_file,
            self.allow_a_tool,
            self.rest,
            self.prompt_wakes,
            self.lose_the_sandbox,
            self.queue_two,
            self.go_back,
            self.sleep_over_a_question,
            self.end,
        ]

    async def create(self):
        view = await self.world.create(key="once")
        assert view.state in {"idle", "waiting", "waking", "hibernated"}

    async def ask_for_a_file(self):
        async with self.page() as page:
            await page.until_state("idle")
            await self.prompt(page, "file", "hello")
            self.first = await self.keeping(page, b"1")

    async def allow_a_tool(self):
        async with self.page() as page:
            await self.world.say(self.world.session_id, "!bash ls", client_id="tool")
            await self.answered(page, "tool")

    async def rest(self):
        async with self.page() as page:
            await self.resting(page)

    async def prompt_wakes(self):
        async with self.page() as page:
            await self.prompt(page, "woken", "good morning")
            assert self.world.sandbox.workspace.files == {"a": b"1"}

    async def lose_the_sandbox(self):
        async with self.page() as page:
            await self.world.say(self.world.session_id, "!slow 30", client_id="slow")
            while not self.world.is_done("slow"):
                await page.until(lambda p: p.view.state == "running" or self.world.is_done("slow"))
                if self.world.turn_of("slow"):
                    self.world.sandbox.lose(Ending(tag="gone", sentence="Gone."))
                await page.next()
            await self.let_go(page)
            await page.until_state("idle")

    async def queue_two(self):
        async with self.page() as page:
            await self.world.say(self.world.session_id, "!slow 0.01", client_id="one")
            await self.prompt(page, "two", "and this")
            await self.keeping(page, b"2")

    async def go_back(self):
        async with self.page() as page:
            while not self.world.log_of(WentBack):
                await page.until_state("idle")
                with contextlib.suppress(RuleBroken):
                    back = GoBack(checkpoint_id=self.first)
                    await self.world.command(self.world.session_id, back)
                await page.next()
            await self.prompt(page, "back", "here again")
            assert self.world.sandbox.workspace.files == {"a": b"1"}

    async def sleep_over_a_question(self):
        async with self.page() as page:
            await self.world.say(self.world.session_id, "!bash pwd", client_id="late")
            await page.until(lambda p: p.view.permissions or self.world.is_done("late"))
            if not self.world.is_done("late"):
                await self.resting(page)
        async with self.page() as page:
            await self.answered(page, "late")

    async def end(self):
        with contextlib.suppress(RuleBroken):
            await self.world.command(self.world.session_id, End())
        await eventually(lambda: self.world.log_of(SessionEnded))
        await eventually(lambda: not self.world.pool.live)

    # --- with a page open ----------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def page(self):
        resume = Resume(seq=0, epoch="")
        attached = self.world.sessions.attach(ANNA, self.world.session_id, resume)
        async with attached as follower:
            page = Page(follower)
            try:
                await page.until(lambda p: p.view)
                yield page
            finally:
                page.close()

    async def prompt(self, page, client_id, text):
        await self.world.say(self.world.session_id, text, client_id=client_id)
        await self.outcome(page, client_id)

    async def outcome(self, page, client_id):
        while not self.world.is_done(client_id):
            await self.let_go(page)
            await page.next()
        await self.let_go(page)

    async def keeping(self, page, content):
        """Have file `a` with this content kept, in whatever sandbox it is; the checkpoint."""
        while True:
            await page.until_state("idle")
            for checkpoint in self.world.checkpoints._checkpoints[self.world.session_id]:
                packed = self.world.blobs.blobs[checkpoint.blob]
                if msgspec.msgpack.decode(packed)[0] == {"a": content}:
                    return checkpoint.id
            self.world.sandbox.workspace.files["a"] = content
            with contextlib.suppress(RuleBroken):
                await self.world.command(self.world.session_id, TakeCheckpoint())
            await page.next()

    async def let_go(self, page):
        """Whatever was not finished need not be."""
        while page.view.unfinished is not None:
            with contextlib.suppress(RuleBroken):
                unfinished = page.view.unfinished.client_id
                await self.world.command(self.world.session_id, LetGo(unfinished=unfinished))
            await page.until(lambda p: p.view.unfinished is None)

    async def answered(self, page, client_id):
        while not self.world.is_done(client_id):
            await page.until(lambda p: p.view.permissions or self.world.is_done(client_id))
            for request in page.view.permissions:
                with contextlib.suppress(RuleBroken):
                    decision = decision_on(request, "allow")
                    await self.world.command(self.world.session_id, decision)
            if not self.world.is_done(client_id):
                await page.next()
        await self.let_go(page)

    async def resting(self, page):
        while page.view.state != "hibernated":
            with contextlib.suppress(RuleBroken):
                await self.world.command(self.world.session_id, Hibernate())
            await page.next()


class Page:
    """Follows, and holds the stream to its promise: no number is left out or comes twice."""

    def __init__(self, follower):
        self.view, self._seq, self.broken = None, 0, ""
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read(follower), name="page")

    async def _read(self, follower):
        async for raw in follower:
            frame = server_frame_codec.decode(raw)
            match frame:
                case Snapshot():
                    self.view = frame.session
                case SessionChanged():
                    self.view = frame.session
                case Events() if frame.events:
                    numbers = [one.seq for one in frame.events]
                    first = self._seq + 1
                    if numbers != list(range(first, first + len(numbers))):
                        self.broken = f"{numbers} after {self._seq}"
                case _:
                    pass
            self._seq = frame.seq
            self._news.set()

    async def until(self, condition):
        while not condition(self):
            await self.next()

    async def until_state(self, state):
        await self.until(lambda p: p.view.state == state)

    async def next(self):
        """Until something happened, or a while is over: the log tells more than frames."""
        assert not self.broken, self.broken
        self._news.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await self._news.wait()

    def close(self):
        self._reading.cancel()


# --- what has to hold --------------------------------------------------------------------------


def check(world):
    log = world.logged(world.session_id)
    seqs = [entry.seq for entry in world.database.events[world.session_id]]
    assert seqs == sorted(set(seqs))
    check_prompts(log)
    assert isinstance(log[-1], SessionEnded)
    assert len([e for e in log if isinstance(e, SessionEnded)]) == 1
    assert twice([e.message_id for e in log if isinstance(e, TextWritten)]) == []
    assert world.database.sessions[world.session_id].state == "ended"
    assert not world.pool.live
    assert not world.pool._left
    check_transcripts(world)
    assert not world.checkpoints._checkpoints.get(world.session_id), "checkpoints are left"


def check_prompts(log):
    """Each is accepted once, has one turn, and that has one end."""
    accepted = [e.client_id for e in log if isinstance(e, PromptAccepted)]
    assert sorted(accepted) == sorted(
        ["file", "tool", "woken", "slow", "one", "two", "back", "late"]
    )
    started = {e.turn_id: e.client_id for e in log if isinstance(e, TurnStarted)}
    assert sorted(started.values()) == sorted(accepted)
    ended = [e.turn_id for e in log if isinstance(e, TurnEnded)]
    assert sorted(ended) == sorted(started)
    offered = [e.client_id for e in log if isinstance(e, PromptUnfinished)]
    assert twice(offered) == []
    done = {
        started[e.turn_id] for e in log if isinstance(e, TurnEnded) and e.outcome == "completed"
    }
    assert not done & set(offered)


def check_transcripts(world):
    """No line is stored twice, and none of a turn that came to its end is missing."""
    log = world.logged(world.session_id)
    done = {e.turn_id for e in log if isinstance(e, TurnEnded) and e.outcome == "completed"}
    told = collections.defaultdict(list)
    for batch in world.transcripts._batches[world.session_id]:
        if batch.went is None:
            rows = [msgspec.json.decode(line) for line in batch.lines.splitlines()]
            told[batch.branch] += [(r["type"], r.get("turn") or r.get("id")) for r in rows]
    for rows in told.values():
        assert twice(rows) == []
    assert done <= {turn for rows in told.values() for kind, turn in rows if kind == "assistant"}


def twice(things):
    return [thing for thing, count in collections.Counter(things).items() if count > 1]


# --- the runs ----------------------------------------------------------------------------------


class Run:
    """A whole life, in which each process dies at the call that `fatal` says, one after the other;
    the last one lives."""

    def __init__(self, fatal, *, machine_too=False):
        self.world = MortalWorld(fatal)
        self.machine_too = machine_too
        self.fuses = [self.world.fuse]
        self.deaths = []

    @property
    def calls(self):
        """Of the first process."""
        return self.fuses[0].calls

    async def live(self):
        step = None
        try:
            for step in Person(self.world).steps():
                while not await self._survived(step):
                    self.deaths.append(f"{step.__name__} at {self.world.fuse.last}")
                    self._restart()
            check(self.world)
        except Exception as error:
            error.add_note(f"{step.__name__}; killed in {' and '.join(self.deaths)}")
            error.add_note(f"log: {' '.join(type(e).__name__ for e in self._log())}")
            raise

    async def _survived(self, step):
        """Whether the step was done before the process died."""
        doing = asyncio.create_task(self._do(step), name=step.__name__)
        died = asyncio.create_task(self.world.fuse.blown.wait(), name="died")
        first = asyncio.FIRST_COMPLETED
        await asyncio.wait([doing, died], timeout=STEP_SECONDS, return_when=first)
        died.cancel()
        if self.world.fuse.blown.is_set():
            doing.cancel()  # whoever did it goes on in the next process, from here
            return False
        assert doing.done(), "stuck"
        await doing
        return True

    async def _do(self, step):
        if self.deaths and not self.world.is_started:
            await self.world.sessions.start()
            self.world.is_started = True
        await step()

    def _restart(self):
        self.world.pool.restart()
        if self.machine_too:
            self.world.pool._left.clear()
            for sandbox in list(self.world.pool.live):
                sandbox.lose(Ending(tag="gone", sentence="Gone."))
                self.world.pool.live.discard(sandbox)
        self.world.sessions = self.world.new_process()
        self.world.is_started = False
        self.fuses.append(self.world.fuse)

    def _log(self):
        sessions = list(self.world.database.sessions)
        return self.world.logged(sessions[0]) if sessions else []


async def lived(runs):
    """All of them, some at a time. Raises the first one that went wrong."""
    runs = list(runs)
    before = asyncio.all_tasks()
    for start in range(0, len(runs), AT_ONCE):
        some = runs[start : start + AT_ONCE]
        results = await asyncio.gather(*(run.live() for run in some), return_exceptions=True)
        for fuse in (fuse for run in some for fuse in run.fuses):
            fuse.bury()
        await clear(before)
        for failure in results:
            if failure is not None:
                raise failure
    return runs


async def clear(before):
    """What is left of processes that are dead."""
    while left := asyncio.all_tasks() - before:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=0.1)


async def calls():
    """In a life without a crash."""
    [run] = await lived([Run([])])
    return run.calls


async def test_life_without_a_crash():
    """The life that the others break off comes to its end."""
    assert await calls() > 100


async def test_killed_at_every_call():
    """Whatever the control plane did last, the next one goes on from there."""
    await lived(Run([fatal]) for fatal in range(1, await calls() + 1))


async def test_killed_with_its_sandboxes():
    """The same where the whole machine went down; every fifth call of them."""
    everywhere = range(1, await calls() + 1, 5)
    await lived(Run([fatal], machine_too=True) for fatal in everywhere)


async def test_killed_again_while_it_starts():
    """A start that is killed is followed by another one, which finds as much."""
    chance = random.Random(4)
    everywhere = range(1, await calls() + 1, 9)
    await lived(Run([n, chance.randint(1, 12), chance.randint(1, 60)]) for n in everywhere)
