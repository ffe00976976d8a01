"""A session's life while it has a sandbox or wants one: a chain of stays, one after the other.

Each stay is arrived at, attended, and left or lost; what follows is decided here. A session that
rests has no life, and costs nothing but what is stored of it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from orchestrator.protocol.chat import Ending, SessionState, SessionView
from orchestrator.protocol.control_events import RecoveryStopped, SessionHibernated
from orchestrator.protocol.ids import TurnId
from orchestrator.sessions.errors import (
    ConversationTooLarge,
    RuleBroken,
    SandboxNotReady,
    SessionOver,
    ShuttingDown,
    StorageFailed,
)
from orchestrator.sessions.kept.checkpoint_keeper import CheckpointKeeper
from orchestrator.sessions.parts import Parts
from orchestrator.sessions.ports import StayStep
from orchestrator.sessions.stays.arrival import Arrival, Reason
from orchestrator.sessions.stays.departure import Departure, Exchange, Keep, Rest, Return, Wish
from orchestrator.sessions.stays.stay import Loss, Stay
from orchestrator.sessions.view import endings
from orchestrator.sessions.view.states import step
from orchestrator.sessions.watch.watchman import Watchman

logger = logging.getLogger(__name__)

STEPS: dict[Reason, StayStep] = {
    "woken": "wake",
    "recovered": "recover",
    "recycled": "exchange",
    "went_back": "go_back",
}
AT_SHUTDOWN = Rest(reason="shutdown", sentence=endings.RESTS_FOR_SHUTDOWN)


class Life:
    """`on_end` is called where the session shall end, `on_fail` where it cannot go on: its sandbox
    is then lost, or of no use. `on_over` when this life is over, for whatever reason."""

    def __init__(
        self,
        parts: Parts,
        *,
        on_end: Callable[[Ending], None],
        on_fail: Callable[[Ending], None],
        on_over: Callable[[], None],
    ) -> None:
        self._parts = parts
        self._on_over = on_over
        self._on_end = on_end
        self._on_fail = on_fail
        self._keeper = CheckpointKeeper(parts)
        self._departure = Departure(parts, self._keeper)
        self._watchman = Watchman(parts, wish=self.wish, end=on_end)
        self._placed, self._claimed = asyncio.Event(), asyncio.Event()
        self._arrival = Arrival(parts, on_place=self._placed.set, on_stay=self._found)
        self._refusal: RuleBroken | None = None
        self._task: asyncio.Task[None] | None = None
        self._wished: Wish | None = None
        self._outcome: asyncio.Future[bool] | None = None
        self._wanted = False
        self._closing = False
        self._news, self._changed = asyncio.Event(), asyncio.Event()
        self._stay: Stay | None = None

    @property
    def goes_on(self) -> bool:
        """It has a sandbox, or is about to have one."""
        return self._task is not None and not self._task.done()

    @property
    def stay(self) -> Stay | None:
        """The sandbox that somebody has to give up; perhaps the session's, perhaps not yet."""
        return self._stay

    # --- asked from outside ------------------------------------------------------------------

    def begin(self, reason: Reason) -> None:
        """Get a sandbox. Where there is one, or one is on its way, that is it."""
        self._wanted = True
        if self.goes_on or self._closing:
            return
        view = self._parts.view
        self._parts.journal.change(_in_state(view, step(view.state, "woken")))
        self._live_on(reason)

    def go_on_in(self, stay: Stay) -> None:
        """The session's own sandbox outlived the control plane."""
        self._found(stay)
        stay.assigned, self._parts.turns.stay = True, stay
        if self._parts.turns.is_between and self._parts.profile is not None:
            self._keeper.ask()  # a turn may have ended, and its files not been kept
            self._news.set()
        self._parts.activity.begin_stay(self._parts.now())
        self._placed.set()
        self._claimed.set()
        self._live_on(None)

    def wish(self, wish: Wish) -> bool:
        """Whether it will be tried: one thing at a time, and only between turns."""
        if self._wished is not None or not self._departure.may_leave(wish):
            return False
        self._wished = wish
        self._wanted = False
        self._outcome = asyncio.get_running_loop().create_future()
        self._news.set()
        return True

    async def outcome(self) -> bool:
        """Whether what was wished last came about, once that is known."""
        return self._outcome is not None and await asyncio.shield(self._outcome)

    async def go_back_asleep(self, wish: Return) -> None:
        """A session that rests goes back at once, and wakes there. Whoever wants it awake meanwhile
        waits for that. Raises SandboxNotReady where it is on its way already, StorageFailed."""
        if self.goes_on or self._closing:
            raise SandboxNotReady
        self._wanted = False
        self._task = self._parts.order.keep(self._departure.go_back_asleep(wish), "go-back")
        self._task.add_done_callback(self._went_back)
        await asyncio.shield(self._task)

    def _went_back(self, going: asyncio.Task[None]) -> None:
        if going.cancelled():
            return
        if going.exception() is None:
            self.begin("went_back")
        elif self._wanted:
            self.begin("woken")

    def turn_over(self, turn_id: TurnId) -> None:
        self._keeper.turn_over(turn_id)
        self._news.set()

    def look_soon(self) -> None:
        self._watchman.look_soon()
        self._changed.set()

    async def placed(self) -> None:
        """Until the session has its sandbox or a place in the queue. Raises what refused it."""
        await self._placed.wait()
        if self._refusal is not None:
            raise self._refusal

    async def claimed(self) -> None:
        """Until the session has its sandbox. Raises what refused it."""
        await self._claimed.wait()
        if self._refusal is not None:
            raise self._refusal

    def may_rest(self) -> bool:
        """There is a sandbox, and nothing in it that must not be broken off."""
        return self._departure.may_leave(AT_SHUTDOWN)

    async def until_may_rest(self) -> None:
        """For one who waits at a time."""
        while not self.may_rest() and self._parts.turns.stay is not None:
            self._changed.clear()
            await self._changed.wait()

    async def rest_alone(self) -> None:
        """It was left behind by an earlier run, and its sandbox is gone. Raises StorageFailed."""
        await self._departure.found_alone()

    def close(self) -> None:
        """No further stay is begun."""
        self._closing = True

    async def rested(self) -> None:
        """Until it has no sandbox and wants none."""
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._departure.buried()

    async def stop(self) -> None:
        """Whatever it is at, that is over. `stay` is left to whoever stopped it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._departure.buried()
        self._settle(done=False)
        if not self._claimed.is_set():
            self._refusal = SessionOver()
        self._placed.set()
        self._claimed.set()

    async def break_off(self, sentence: str) -> None:
        """Rest at once, with what was kept until now. Raises StorageFailed."""
        await self.stop()
        try:
            await self._departure.break_off(sentence)
        finally:
            if self._stay is not None:
                await self._stay.give_up()

    # --- the chain ---------------------------------------------------------------------------

    def _live_on(self, reason: Reason | None) -> None:
        self._task = self._parts.order.keep(self._live(reason), "life")
        self._task.add_done_callback(lambda _: self._on_over())

    async def _live(self, reason: Reason | None) -> None:
        """`reason`: of the first arrival; none where it is at home already."""
        try:
            going = True
            while going:
                arrived = reason is None or await self._arrive(reason)
                following = await self._attend() if arrived else None
                reason = following or self._asked_meanwhile()
                going = reason is not None
        except StorageFailed:
            logger.exception("session.life_failed", extra={"session_id": self._parts.id})
            self._on_fail(endings.STORAGE_FAILED)
        except Exception:
            logger.exception("session.life_failed", extra={"session_id": self._parts.id})
            self._on_fail(endings.INTERNAL_ERROR)

    async def _arrive(self, reason: Reason) -> bool:
        """Whether it is at home now."""
        self._wanted = False
        try:
            await self._arrival.arrive(reason)
            self._note(reason, "done")
        except RuleBroken as refusal:
            self._note(reason, refusal.tag)
            await self._turned_away(refusal, is_new=reason == "new")
            return False
        finally:
            self._placed.set()
            self._claimed.set()
        return True

    def _note(self, reason: Reason, outcome: str) -> None:
        if reason != "new":
            self._parts.ports.on_step(STEPS[reason], outcome)

    async def _turned_away(self, refusal: RuleBroken, *, is_new: bool) -> None:
        extra = {"session_id": self._parts.id, "tag": refusal.tag, "error": repr(refusal)}
        logger.warning("session.turned_away", extra=extra)
        if is_new:
            self._refusal = refusal
            self._on_end(endings.refused(refusal))
        elif isinstance(refusal, ShuttingDown):
            rests = SessionHibernated(reason="shutdown", sentence=endings.RESTS_FOR_SHUTDOWN)
            await self._departure.rest_without(rests)
        else:
            may_help = not isinstance(refusal, ConversationTooLarge)
            sentence = endings.not_woken(refusal.sentence, again=may_help)
            deaths = self._parts.standing.deaths
            await self._departure.rest_without(RecoveryStopped(deaths=deaths, sentence=sentence))

    async def _attend(self) -> Reason | None:
        """Until the session is out of its sandbox: why it wants another one, if it does."""
        stay = self._stay
        if stay is None:
            return None
        around = [
            self._parts.order.keep(self._kept_up(partial(self._watchman.watch, stay)), "watch"),
            self._parts.order.keep(
                self._kept_up(partial(self._watchman.watch_memory, stay)), "watch-memory"
            ),
        ]
        try:
            while stay.loss is None:
                await self._something(stay)
                if stay.loss is None and (left := await self._do_what_is_wished(stay)):
                    return left[0]
            return await self._recover(stay, stay.loss)
        finally:
            for task in around:
                task.cancel()
            await asyncio.wait(around)

    async def _kept_up(self, watch: Callable[[], Awaitable[None]]) -> None:
        """Whatever went wrong in it: a session that nobody looks after has no limits."""
        while True:
            try:
                return await watch()
            except Exception:
                logger.exception("session.watch_failed", extra={"session_id": self._parts.id})
                await asyncio.sleep(self._parts.limits.watch_again_seconds)

    async def _something(self, stay: Stay) -> None:
        """Until there is something to do."""
        waits = [
            asyncio.ensure_future(self._news.wait()),
            asyncio.ensure_future(stay.over.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            self._news.clear()

    async def _do_what_is_wished(self, stay: Stay) -> tuple[Reason | None] | None:
        """None where the session stays; else why it wants another sandbox, if it does."""
        wish = self._wished
        if isinstance(wish, Keep):
            self._keeper.ask()
        elif wish is not None:
            left = await self._departure.leave(stay, wish)
            if isinstance(wish, Rest):
                self._parts.ports.on_step("hibernate", "done" if left else "put_off")
            if left:
                return (self._after(wish),)
            self._watchman.put_off()
            await self._parts.go_on()
        if wish is not None:
            self._settle(done=isinstance(wish, Keep))
        if self._keeper.due:
            await self._keeper.between_turns(stay)
        return None

    def _settle(self, *, done: bool) -> None:
        """Nothing is wished any more."""
        self._wished = None
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(done)

    def _after(self, wish: Rest | Exchange | Return) -> Reason | None:
        self._leave_behind(done=True)
        match wish:
            case Rest():
                wanted = self._parts.turns.has_work and not self._closing
                return self._wakes() if wanted else None
            case Exchange():
                return "recycled"
            case Return():
                return "went_back"

    def _asked_meanwhile(self) -> Reason | None:
        """Between the decision to rest and the end of this task, `begin` finds it going on."""
        rests = self._parts.view.state == "hibernated"
        return self._wakes() if rests and self._wanted and not self._closing else None

    def _wakes(self) -> Reason:
        view = self._parts.view
        self._parts.journal.change(_in_state(view, step(view.state, "woken")))
        return "woken"

    async def _recover(self, stay: Stay, loss: Loss) -> Reason | None:
        if loss.for_good:
            self._on_fail(loss.ending)
            return None
        goes_on = await self._departure.lost(stay, loss)
        self._leave_behind(done=False)
        if goes_on and self._closing:
            rests = SessionHibernated(reason="shutdown", sentence=endings.RESTS_FOR_SHUTDOWN)
            await self._departure.rest_without(rests)
        elif not goes_on and loss.ending == endings.SANDBOX_MISBEHAVED:
            self._on_fail(loss.ending)
        return "recovered" if goes_on and not self._closing else None

    def _leave_behind(self, *, done: bool) -> None:
        self._stay = None
        self._keeper.forget()
        self._settle(done=done)

    def _found(self, stay: Stay) -> None:
        self._stay = stay


def _in_state(view: SessionView, state: SessionState) -> SessionView:
    return view if state == view.state else msgspec.structs.replace(view, state=state)
