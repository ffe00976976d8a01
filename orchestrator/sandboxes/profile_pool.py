"""The sandboxes of one profile: kept ready, handed out fairly, replaced when stale.

One task (`run`) decides: it looks at the counts, starts and drops what `sizing.plan` says, and
serves who waits. Everything else only changes what it looks at and kicks it.
"""

import asyncio
import time
from collections.abc import Callable

import structlog

from orchestrator.protocol.ids import SessionId
from orchestrator.sandboxes.background import BackgroundTasks
from orchestrator.sandboxes.errors import SandboxFailure, StartFailed
from orchestrator.sandboxes.place import Place
from orchestrator.sandboxes.pool_view import PoolView
from orchestrator.sandboxes.ports import Launcher, Member, PoolObserver
from orchestrator.sandboxes.settings import PoolSettings
from orchestrator.sandboxes.sizing import Counts, backoff, plan, retry_after
from orchestrator.sandboxes.waiting_line import WaitingLine
from orchestrator.sessions.errors import NoSandboxFree, ShuttingDown
from orchestrator.sessions.profiles import Profile

FIRST_GUESS = 2.0
"""Seconds per sandbox, before any was measured."""
LOOK_REST = 1.0
"""Seconds between two looks at the image's version, however often something happens."""
MEMORY_OF_THE_PAST = 0.7
"""Weight of the past in the running mean of how often a sandbox comes free."""

_log = structlog.get_logger(__name__)


class ProfilePool:
    """Made by `Pool`, which runs it, bounds it by the host's ceiling and closes it."""

    def __init__(
        self,
        profile: Profile,
        *,
        settings: PoolSettings,
        launcher: Launcher,
        observer: PoolObserver,
        host_room: Callable[[], int],
    ) -> None:
        self._profile = profile
        self._settings = settings
        self._launcher = launcher
        self._observer = observer
        self._host_room = host_room
        self.minimum, self.maximum = settings.minimum, settings.maximum
        self._places: dict[str, Place] = {}
        self._starting = 0
        self._line: WaitingLine[Place] = WaitingLine()
        self._version = ""
        self._look_again_at = 0.0
        self._kicked = asyncio.Event()
        self._tasks = BackgroundTasks()
        self._closed = False
        self._hits = self._waits = self._refusals = self._refills = self._deaths = 0
        self._failures = self._failures_in_a_row = 0
        self._retry_at = 0.0
        self._last_error: SandboxFailure | None = None
        self._seconds_per_sandbox = FIRST_GUESS
        self._served_at: float | None = None
        self._quiet_until = 0.0
        self._no_spares_until = 0.0
        self._log = _log.bind(profile=profile.name)

    # --- claiming --------------------------------------------------------------------------------

    async def claim(
        self, session: SessionId, *, on_place: Callable[[int], None], used_tokens: int = 0
    ) -> Member:
        """Raises NoSandboxFree, ShuttingDown."""
        began = time.monotonic()
        if self._closed:
            raise ShuttingDown
        place = self._take_ready() if len(self._line) == 0 else None
        if place is None:
            place = await self._wait(on_place)
        else:
            self._hits += 1
        self._assign(place, session, used_tokens=used_tokens)
        self._quiet_until = time.monotonic() + self._settings.refill_pause
        self.kick()
        seconds = time.monotonic() - began
        self._observer.claim_waited(self._profile.name, seconds=seconds)
        self._log.info(
            "sandbox.claimed",
            sandbox=place.member.id,
            session=session,
            waited_ms=round(seconds * 1000, 2),
        )
        return place.member

    def _assign(self, place: Place, session: SessionId, *, used_tokens: int) -> None:
        """One that cannot be assigned would be nobody's and count as claimed for ever."""
        try:
            place.member.assign(session, used_tokens=used_tokens)
        except BaseException:
            self._drop(place)
            raise

    def _take_ready(self) -> Place | None:
        """The oldest one that is of use, marked as claimed."""
        for place in self._places.values():
            if place.state == "ready" and self._is_fresh(place):
                place.state = "claimed"
                self._measure_turnover()
                return place
        return None

    def _is_fresh(self, place: Place) -> bool:
        return (
            place.member.alive
            and place.member.version == self._version
            and place.member.profile == self._profile
            and place.age < self._settings.max_age
        )

    async def _wait(self, on_place: Callable[[int], None]) -> Place:
        if len(self._line) >= self._settings.queue_bound:
            raise self._refusal()
        self._waits += 1
        try:
            async with asyncio.timeout(self._settings.wait_limit):
                place = await self._wait_in_line(on_place)
                while not place.member.alive:  # it died on its way here
                    place = await self._wait_in_line(on_place, first=True)
        except TimeoutError as error:
            raise self._refusal() from error
        return place

    async def _wait_in_line(self, on_place: Callable[[int], None], *, first: bool = False) -> Place:
        waiter = self._line.join(on_place, first=first)
        self.kick()
        try:
            return await waiter.served
        except asyncio.CancelledError:
            self._line.leave(waiter)
            self._put_back(waiter.served)
            raise

    def _put_back(self, served: "asyncio.Future[Place]") -> None:
        """A waiter who left in the moment of being served has touched nothing: the next may."""
        if served.done() and not served.cancelled() and served.exception() is None:
            served.result().state = "ready"
            self._serve()
            self.kick()

    def _refusal(self) -> NoSandboxFree:
        self._refusals += 1
        self._observer.claim_refused(self._profile.name)
        return NoSandboxFree(
            retry_after=retry_after(
                waiting=len(self._line), seconds_per_sandbox=self._seconds_per_sandbox
            )
        )

    def _measure_turnover(self) -> None:
        now = time.monotonic()
        if self._served_at is not None and len(self._line) > 0:
            past = MEMORY_OF_THE_PAST * self._seconds_per_sandbox
            self._seconds_per_sandbox = past + (1 - MEMORY_OF_THE_PAST) * (now - self._served_at)
        self._served_at = now

    def _serve(self) -> None:
        """Hand ready sandboxes to those who wait, in their order."""
        while len(self._line) > 0 and (place := self._take_ready()) is not None:
            if not self._line.serve(place):
                place.state = "ready"
                return

    # --- keeping it filled -----------------------------------------------------------------------

    def kick(self) -> None:
        """Something changed: look again."""
        self._kicked.set()

    def update(self, profile: Profile) -> None:
        """The profile was edited: members made of the old one become stale."""
        if profile != self._profile:
            self._profile = profile
            self.kick()

    def resize(self, *, minimum: int, maximum: int) -> None:
        self.minimum, self.maximum = minimum, maximum
        self._log.info("pool.resized", minimum=minimum, maximum=maximum)
        self.kick()

    def hold_spares(self, *, until: float) -> None:
        """Make no spare ones before then (monotonic); who waits is served even so."""
        self._no_spares_until = until
        self.kick()

    def shed(self) -> bool:
        """Give up one spare sandbox; False where there is none."""
        spare = [place for place in self._places.values() if place.state == "ready"]
        if spare:
            self._drop(spare[0])
        return bool(spare)

    def take_in(self, member: Member, *, claimed: bool) -> None:
        """One of an earlier run."""
        self._keep(Place(member, state="claimed" if claimed else "ready"))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._kicked.clear()
            try:
                await self._look()
            except Exception:  # noqa: BLE001 - a pool that stops looking would serve nobody again
                self._log.exception("pool.look_failed")
            try:
                async with asyncio.timeout(self._until_next_look()):
                    await self._kicked.wait()
            except TimeoutError:
                pass

    async def _look(self) -> None:
        await self._look_at_version()
        self._serve()
        self._follow_plan()
        self._tell_counts()

    def _until_next_look(self) -> float:
        now = time.monotonic()
        ends = (self._retry_at, self._quiet_until, self._no_spares_until)
        rests = [at - now for at in ends if at > now]
        return min([self._settings.tick, *rests])

    async def _look_at_version(self) -> None:
        if time.monotonic() < self._look_again_at:
            return
        self._look_again_at = time.monotonic() + LOOK_REST
        try:
            self._version = await self._launcher.version(self._profile)
        except SandboxFailure as error:
            self._note_failure(error)

    def _follow_plan(self) -> None:
        counts = self.counts()
        todo = plan(
            counts,
            minimum=self._wanted_spares(counts),
            maximum=min(self.maximum, counts.total + max(0, self._host_room())),
            start_cap=self._settings.start_cap,
        )
        if self._may_start(counts):
            for _ in range(todo.start):
                self._starting += 1
                self._tasks.start(self._launch(), name=f"launch-{self._profile.name}")
        for _ in range(todo.drop_stale):
            self._drop_oldest(fresh=False)
        for _ in range(todo.drop_ready):
            self._drop_oldest(fresh=True)

    def _wanted_spares(self, counts: Counts) -> int:
        if time.monotonic() >= self._no_spares_until:
            return self.minimum
        return min(self.minimum, max(0, counts.ready + counts.starting - counts.waiting))

    def _may_start(self, counts: Counts) -> bool:
        """Not while resting after failures; nor, with others ready, right after a claim."""
        now = time.monotonic()
        urgent = counts.waiting > 0 or counts.ready == 0
        return now >= self._retry_at and (urgent or now >= self._quiet_until)

    def counts(self) -> Counts:
        unclaimed = [place for place in self._places.values() if place.state == "ready"]
        ready = sum(map(self._is_fresh, unclaimed))
        return Counts(
            ready=ready,
            stale=len(unclaimed) - ready,
            starting=self._starting,
            taken=len(self._places) - len(unclaimed),
            waiting=len(self._line),
        )

    def _tell_counts(self) -> None:
        counts = self.counts()
        self._observer.pool_measured(
            self._profile.name,
            ready=counts.ready,
            starting=counts.starting,
            claimed=counts.taken,
            waiting=counts.waiting,
        )

    async def _launch(self) -> None:
        began = time.monotonic()
        try:
            member = await self._launcher.launch(self._profile)
        except SandboxFailure as error:
            self._failures_in_a_row += 1
            self._note_failure(error)
        except Exception as error:  # noqa: BLE001 - unforeseen, it must rest like any other
            self._log.exception("launch.broken")
            self._failures_in_a_row += 1
            self._note_failure(SandboxFailure(f"A launch broke off: {type(error).__name__}."))
        else:
            self._welcome(member, seconds=time.monotonic() - began)
        finally:
            self._starting -= 1
            self.kick()

    def _note_failure(self, error: SandboxFailure) -> None:
        tag = error.tag if isinstance(error, StartFailed) else "engine"
        output = error.output if isinstance(error, StartFailed) else []
        self._failures += 1
        self._failures_in_a_row = max(1, self._failures_in_a_row)
        rest = backoff(
            self._failures_in_a_row,
            first=self._settings.backoff_first,
            most=self._settings.backoff_most,
        )
        self._retry_at = time.monotonic() + rest
        self._last_error = error
        self._observer.sandbox_failed(self._profile.name, reason=tag)
        self._log.error(
            "start.failed", tag=tag, reason=error.sentence, output=output, retry_in=rest
        )

    def _welcome(self, member: Member, *, seconds: float) -> None:
        self._failures_in_a_row = 0
        self._retry_at = 0.0
        self._refills += 1
        self._observer.sandbox_started(self._profile.name, seconds=seconds)
        self._keep(Place(member))

    def _keep(self, place: Place) -> None:
        self._places[place.member.id] = place
        self._tasks.start(self._until_gone(place), name=f"member-{place.member.id}")
        self._serve()
        self.kick()

    async def _until_gone(self, place: Place) -> None:
        await place.member.gone()
        if place.state == "ready":
            self._deaths += 1
        del self._places[place.member.id]
        self.kick()

    def _drop_oldest(self, *, fresh: bool) -> None:
        for place in self._places.values():
            if place.state == "ready" and self._is_fresh(place) == fresh:
                self._drop(place)
                return

    def _drop(self, place: Place) -> None:
        place.state = "leaving"
        self._tasks.start(place.member.destroy(), name=f"drop-{place.member.id}")

    # --- telling and closing ---------------------------------------------------------------------

    def view(self) -> PoolView:
        counts = self.counts()
        places = list(self._places.values())
        leaving = sum(place.state == "leaving" for place in places)
        return PoolView(
            profile=self._profile.name,
            min=self.minimum,
            max=self.maximum,
            ready=counts.ready,
            stale=counts.stale,
            starting=counts.starting,
            claimed=counts.taken - leaving,
            leaving=leaving,
            waiting=counts.waiting,
            image_version=self._version,
            members=[place.view() for place in places],
            counters={
                "hits": self._hits,
                "waits": self._waits,
                "refusals": self._refusals,
                "refills": self._refills,
                "failures": self._failures,
                "deaths": self._deaths,
            },
            last_error=None if self._last_error is None else self._last_error.sentence,
            last_output=getattr(self._last_error, "output", []),
            retry_in=round(max(0.0, self._retry_at - time.monotonic()), 1),
        )

    async def close(self) -> None:
        """Send everybody away, stop the starts, destroy what there is."""
        self._closed = True
        self._line.refuse(ShuttingDown())
        members = [place.member for place in self._places.values()]
        await asyncio.gather(
            self._tasks.close(), *(member.destroy() for member in members), return_exceptions=True
        )
