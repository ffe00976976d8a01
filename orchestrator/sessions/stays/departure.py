"""The way out of a sandbox: in good order, with all that the session needs elsewhere; or after it
was lost.

What is planned is broken off where something came in between: the session then stays where it is.
"""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Literal

import msgspec

from orchestrator.protocol.chat import Ending
from orchestrator.protocol.control_events import (
    LimitReached,
    SandboxLost,
    SessionHibernated,
    WentBack,
)
from orchestrator.protocol.events import Event
from orchestrator.sessions.errors import RuleBroken, StorageFailed
from orchestrator.sessions.journal.journal import Draft
from orchestrator.sessions.kept.checkpoint_keeper import CheckpointKeeper
from orchestrator.sessions.parts import Parts
from orchestrator.sessions.ports import Checkpoint
from orchestrator.sessions.stays.stay import Loss, Stay
from orchestrator.sessions.view import endings, recovery
from orchestrator.sessions.view.standing import Standing, advanced, waits_for_one_answer
from orchestrator.sessions.view.states import AWAKE, SERVED, step
from orchestrator.sessions.view.view import withdrawals, without_sandbox

logger = logging.getLogger(__name__)
replace = msgspec.structs.replace

PAUSE = "leaving"
SHUTDOWN = "shutdown"
KEEPS = 3
"""How often all is kept before a sandbox is left, where somebody is at work in it meanwhile."""
RestReason = Literal[
    "idle", "host_memory", "memory", "storage", "age", "asked", "shutdown", "upgrade"
]


class Rest(msgspec.Struct, frozen=True, kw_only=True):
    """Give the sandbox up. At a shutdown also where not all could be kept."""

    reason: RestReason
    sentence: str


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """Go on in a fresh sandbox."""

    reason: str
    sentence: str


class Return(msgspec.Struct, frozen=True, kw_only=True):
    """Go back to a checkpoint."""

    checkpoint: Checkpoint
    by: str


class Keep(msgspec.Struct, frozen=True, kw_only=True):
    """Take a checkpoint, and stay."""


Wish = Rest | Exchange | Return | Keep


class Departure:
    def __init__(self, parts: Parts, keeper: CheckpointKeeper) -> None:
        self._parts = parts
        self._keeper = keeper
        self._burials: set[asyncio.Task[None]] = set()

    def may_leave(self, wish: Wish) -> bool:
        """Between turns; to rest also in a turn that waits for nothing but one answer."""
        view = self._parts.view
        if self._parts.turns.stay is None:
            return False
        if view.state == "asking" and isinstance(wish, Rest):
            return waits_for_one_answer(self._parts.standing)
        return view.state == "idle"

    async def leave(self, stay: Stay, wish: Rest | Exchange | Return) -> bool:
        """Whether the session is out of it; else it is as if nothing had been wished."""
        turns = self._parts.turns
        if not self.may_leave(wish):
            return False
        turns.pause(PAUSE)
        try:
            left = await self._left(stay, wish)
        except StorageFailed:
            extra = {"session_id": self._parts.id}
            logger.warning("session.leaving_failed", exc_info=True, extra=extra)
            return False
        finally:
            turns.unpause(PAUSE)
        if left:
            await self._parts.saver.save()
            self._bury(stay)
            if isinstance(wish, Rest):
                await self.buried()
        return left

    async def _left(self, stay: Stay, wish: Rest | Exchange | Return) -> bool:
        """Kept anew where something was done in it meanwhile: a file, an answer."""
        for _ in range(KEEPS):
            written = stay.written
            if not await self._keep_all(stay, wish) or stay.over.is_set():
                return False
            branch = await self._fork(wish) if isinstance(wish, Return) else 0
            detach = partial(self._detach, stay, wish, branch=branch, written=written)
            if await self._parts.order.exclusively(detach):
                return True
            if not self.may_leave(wish) or self._is_wanted(stay, wish):
                return False
        return False

    async def go_back_asleep(self, wish: Return) -> None:
        """Without a sandbox there is nothing to keep. Raises StorageFailed."""
        branch = await self._fork(wish)
        await self._parts.order.exclusively(
            lambda: self._parts.turns.write([self._went_back(wish, branch)])
        )

    async def lost(self, stay: Stay, loss: Loss) -> bool:
        """Whether the session shall go on by itself. Raises StorageFailed."""
        goes_on = await self._parts.order.exclusively(partial(self._write_loss, stay, loss.ending))
        self._bury(stay)
        return goes_on

    async def buried(self) -> None:
        """Until nothing is left of the sandboxes that were given up."""
        if self._burials:
            await asyncio.wait(self._burials)

    def _bury(self, stay: Stay) -> None:
        """Beside what follows: a session that goes on need not wait for what it left."""
        burial = self._parts.order.keep(stay.give_up(), "give-up")
        self._burials.add(burial)
        burial.add_done_callback(self._burials.discard)

    async def rest_without(self, event: Event) -> None:
        """It has no sandbox, and gets none for now. Shown even where it cannot be logged: nothing
        that is durable depends on it."""
        self._parts.turns.stay = None
        try:
            await self._parts.order.exclusively(lambda: self._parts.turns.write([event]))
        except StorageFailed:
            extra = {"session_id": self._parts.id}
            logger.warning("session.rest_not_logged", exc_info=True, extra=extra)
            view = without_sandbox(self._parts.view)
            self._parts.journal.change(replace(view, state=step(view.state, "rested")))

    async def break_off(self, sentence: str) -> None:
        """Rest at once, whatever runs: its prompt is offered again. Raises StorageFailed."""
        await self._parts.order.exclusively(partial(self._write_break, sentence))

    async def found_alone(self) -> None:
        """An earlier run left it behind, without a sandbox by now. Raises StorageFailed."""
        await self._parts.order.exclusively(self._write_found_alone)

    # --- in good order -----------------------------------------------------------------------

    async def _keep_all(self, stay: Stay, wish: Wish) -> bool:
        """Whether all is kept that is needed. Who goes back does without the present; at a shutdown
        what was kept before has to do."""
        try:
            if not await stay.sync():
                extra = {"session_id": self._parts.id}
                logger.warning("transcript.not_synced", extra=extra)
        except RuleBroken:
            return False
        kept = await self._keeper.take(stay)
        return kept or isinstance(wish, Return) or _is_shutdown(wish)

    async def _fork(self, wish: Return) -> int:
        checkpoint, branch = wish.checkpoint, self._parts.standing.branch + 1
        await self._parts.ports.transcripts.fork(
            self._parts.id, branch=checkpoint.branch, position=checkpoint.position, into=branch
        )
        return branch

    async def _detach(
        self, stay: Stay, wish: Rest | Exchange | Return, *, branch: int, written: int
    ) -> bool:
        """The moment from which on the sandbox is not the session's any more. What somebody put
        into it since `written` is in no checkpoint: then it stays."""
        parts = self._parts
        if not self.may_leave(wish) or self._is_wanted(stay, wish):
            return False
        if stay.written != written and not isinstance(wish, Return):
            return False
        moot = withdrawals(parts.view) if parts.view.turn_id is None else []
        if moot and not isinstance(wish, Return):
            wish = replace(wish, sentence=recovery.with_withdrawn(wish.sentence, parts.view))
        stay.left = True
        try:
            await parts.turns.write([*moot, self._farewell(wish, branch)])
        except StorageFailed:
            stay.left = False
            raise
        parts.turns.stay, stay.dismissed = None, True
        if not isinstance(wish, Rest):
            view = without_sandbox(parts.view)
            parts.journal.change(replace(view, state=step(view.state, "exchanged")))
        return True

    def _is_wanted(self, stay: Stay, wish: Wish) -> bool:
        """Somebody sent a prompt while it was put to rest for being idle, or is at its files."""
        optional = isinstance(wish, Rest) and wish.reason in {"idle", "host_memory"}
        return optional and (self._parts.turns.prompt_waits or stay.in_use)

    def _farewell(self, wish: Rest | Exchange | Return, branch: int) -> Event:
        match wish:
            case Rest(reason=reason, sentence=sentence):
                return SessionHibernated(reason=reason, sentence=sentence)
            case Exchange(reason=limit, sentence=sentence):
                return LimitReached(limit=limit, sentence=sentence)
            case Return():
                return self._went_back(wish, branch)

    def _went_back(self, wish: Return, branch: int) -> WentBack:
        return WentBack(
            checkpoint_id=wish.checkpoint.id,
            by=wish.by,
            branch=branch,
            agent_session_id=wish.checkpoint.agent_session_id,
        )

    @property
    def _runs_again(self) -> bool:
        profile = self._parts.profile
        return profile is not None and profile.unfinished == "run"

    # --- lost --------------------------------------------------------------------------------

    async def _write_loss(self, stay: Stay, ending: Ending) -> bool:
        parts = self._parts
        parts.turns.stay, stay.dismissed = None, True
        deaths = parts.standing.deaths + 1
        stops = deaths >= parts.limits.max_deaths
        words = recovery.words_of_loss(
            parts.standing,
            ending,
            cut=parts.journal.cut_blocks(),
            runs_again=self._runs_again and not stops,
        )
        if stops:
            told = next(word.sentence for word in words if isinstance(word, SandboxLost))
            sentence = endings.recovery_stopped(replace(ending, sentence=told), deaths=deaths)
            words += recovery.words_of_giving_up(_after(parts, words), sentence)
        await parts.journal.write([Draft(word) for word in words])
        return not stops

    async def _write_found_alone(self) -> None:
        parts, words = self._parts, list[Event]()
        if parts.view.state in SERVED:
            words += recovery.words_of_loss(
                parts.standing,
                endings.CASEMATE_RESTARTED,
                cut=[],
                runs_again=self._runs_again,
            )
        words.append(SessionHibernated(reason="shutdown", sentence=endings.RESTS_AFTER_RESTART))
        await parts.journal.write([Draft(word) for word in words])

    async def _write_break(self, sentence: str) -> None:
        parts, stay = self._parts, self._parts.turns.stay
        parts.turns.stay = None
        if stay is not None:
            stay.dismissed = True
        if parts.view.state not in AWAKE:
            return
        words: list[Event] = []
        if not waits_for_one_answer(parts.standing):
            sentence = recovery.with_withdrawn(sentence, parts.view)
            words += parts.journal.cut_blocks()
            words += recovery.close_turn(parts.standing, text=sentence)
            stopped = parts.standing.stopping is not None and parts.turns.interruption is None
            words += [] if stopped else recovery.offer(parts.standing, endings.INTERRUPTED)
        words.append(SessionHibernated(reason="shutdown", sentence=sentence))
        await parts.journal.write([Draft(word) for word in words])


def _after(parts: Parts, words: Sequence[Event]) -> Standing:
    standing = parts.standing
    for word in words:
        standing = advanced(standing, word)
    return standing


def _is_shutdown(wish: Wish) -> bool:
    return isinstance(wish, Rest) and wish.reason == SHUTDOWN
