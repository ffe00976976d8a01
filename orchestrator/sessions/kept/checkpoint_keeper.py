"""When a session's files are kept: after a turn, at somebody's wish, before its sandbox goes.

One at a time. A failure is told once, not after every turn. Prompts that come meanwhile wait for a
moment; then the checkpoint is given up for them, and the next one has more patience.
"""

import asyncio
import logging

from orchestrator.protocol.control_events import CheckpointFailed, CheckpointTaken
from orchestrator.protocol.ids import TurnId
from orchestrator.sessions.errors import RuleBroken, StorageFailed
from orchestrator.sessions.parts import Parts
from orchestrator.sessions.ports import Checkpoint
from orchestrator.sessions.stays.stay import Stay
from orchestrator.sessions.view.standing import updated

logger = logging.getLogger(__name__)

PAUSE = "checkpoint"
STEP_SECONDS = 0.05
"""How often it is looked whether somebody waits, while one is taken."""


class CheckpointKeeper:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._told = ""
        self._given_up = 0
        self._last_turn: TurnId | None = None
        self.due = False

    def turn_over(self, turn_id: TurnId) -> None:
        """The next prompt waits until `between_turns` was called."""
        self._last_turn = turn_id
        if self._parts.profile is not None:
            self.ask()

    def ask(self) -> None:
        """One is due; prompts wait for it."""
        self.due = True
        self._parts.turns.pause(PAUSE)

    def forget(self) -> None:
        """Nothing is due any more: the sandbox is gone."""
        self.due = False
        self._parts.turns.unpause(PAUSE)

    async def between_turns(self, stay: Stay) -> None:
        """Keep what the turn made, then let the next one begin."""
        self.due = False
        taking = self._parts.order.keep(self.take(stay), "checkpoint")
        try:
            if await self._patiently(taking, stay):
                self._given_up = 0
            else:
                self._given_up += 1
                extra = {"session_id": self._parts.id, "times": self._given_up}
                logger.info("checkpoint.put_off", extra=extra)
        finally:
            taking.cancel()
            await asyncio.wait([taking])
            self._note_unforeseen(taking)
            self._parts.turns.unpause(PAUSE)
        await self._parts.go_on()

    async def take(self, stay: Stay) -> bool:
        """Whether the files are kept as they are now."""
        parts = self._parts
        began = parts.now()
        try:
            async with stay.used():
                checkpoint = await parts.checkpoints.take(
                    updated(parts.saver.record, parts.standing),
                    stay.sandbox,
                    profile=parts.known_profile,
                    seq=parts.journal.room.seq,
                    turn_id=self._last_turn,
                    anew=bool(parts.standing.went_back_to),
                )
        except RuleBroken as failure:
            if not await stay.is_over_soon():
                await self._tell_failure(failure)
            return False
        self._told = ""
        if checkpoint is not None:
            await self._tell(checkpoint, took_ms=round((parts.now() - began) * 1000))
        return True

    def _note_unforeseen(self, taking: asyncio.Task[bool]) -> None:
        """What was kept before is kept, and the session goes on; the operator has to know."""
        if not taking.cancelled() and (error := taking.exception()) is not None:
            extra = {"session_id": self._parts.id}
            logger.error("checkpoint.broke", exc_info=error, extra=extra)

    async def _patiently(self, taking: asyncio.Task[bool], stay: Stay) -> bool:
        """False once somebody waited for longer than that."""
        limits, waited = self._parts.limits, 0.0
        patience = limits.checkpoint_patience_seconds * 2**self._given_up
        while not taking.done() and not stay.over.is_set():
            await asyncio.wait([taking], timeout=STEP_SECONDS)
            if self._parts.view.queue and not self._parts.standing.held:
                waited += STEP_SECONDS
            if waited >= patience:
                return taking.done()
        return True

    async def _tell(self, checkpoint: Checkpoint, *, took_ms: int) -> None:
        """It is kept, whether or not that can be written down now."""
        taken = CheckpointTaken(
            checkpoint_id=checkpoint.id,
            size=checkpoint.size,
            entries=checkpoint.entries,
            omitted=checkpoint.omitted,
            took_ms=took_ms,
        )
        try:
            await self._parts.order.exclusively(lambda: self._parts.turns.write([taken]))
        except StorageFailed:
            extra = {"session_id": self._parts.id, "checkpoint_id": checkpoint.id}
            logger.warning("checkpoint.not_logged", exc_info=True, extra=extra)

    async def _tell_failure(self, failure: RuleBroken) -> None:
        extra = {"session_id": self._parts.id, "tag": failure.tag, "error": repr(failure)}
        logger.warning("checkpoint.failed", extra=extra)
        if failure.tag == self._told:
            return
        self._told = failure.tag
        sentence = f"{failure.sentence} {failure.advice}".strip()
        failed = CheckpointFailed(tag=failure.tag, sentence=sentence)
        try:
            await self._parts.order.exclusively(lambda: self._parts.turns.write([failed]))
        except StorageFailed:
            logger.warning("checkpoint.failure_not_logged", exc_info=True, extra=extra)
