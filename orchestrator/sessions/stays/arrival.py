"""The way into a sandbox: claimed, filled with what the session had, and at home there.

Tried twice; what is half done is given up whole, so that nothing is there that nobody knows of.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import msgspec

from orchestrator.protocol.commands import ResumeAgent
from orchestrator.protocol.control_events import SandboxAssigned
from orchestrator.protocol.event_parts import PermissionMode
from orchestrator.protocol.sandbox_events import AgentResumed
from orchestrator.sessions.errors import (
    ConversationTooLarge,
    RuleBroken,
    StorageFailed,
    UnknownCheckpoint,
)
from orchestrator.sessions.journal.journal import Draft
from orchestrator.sessions.parts import Parts
from orchestrator.sessions.ports import Checkpoint
from orchestrator.sessions.stays.misbehaviour import SandboxMisbehaved
from orchestrator.sessions.stays.stay import NotResumed, Stay
from orchestrator.sessions.view import endings, recovery
from orchestrator.sessions.view.usage import total_tokens

logger = logging.getLogger(__name__)
replace = msgspec.structs.replace

ATTEMPTS = 2
MODES: tuple[PermissionMode, ...] = get_args(PermissionMode)

Reason = Literal["new", "woken", "recovered", "recycled", "went_back"]


class NotSettled(RuleBroken):
    """Whatever sandbox was tried, the session could not be put into it."""

    tag, status = "not_settled", 503
    sentence = endings.NOT_RESTORED


class Arrival:
    """`on_stay` is told whose sandbox it is that nobody knows of yet, as soon as there is one."""

    def __init__(
        self, parts: Parts, *, on_place: Callable[[], None], on_stay: Callable[[Stay], None]
    ) -> None:
        self._parts = parts
        self._on_place = on_place
        self._on_stay = on_stay

    async def arrive(self, reason: Reason) -> Stay:
        """Raises NotSettled, ConversationTooLarge, StorageFailed and what `SandboxPool.claim`
        raises."""
        began = self._parts.now()
        if reason != "new":
            await self._refuse_too_large()
        for attempt in range(1, ATTEMPTS + 1):
            stay = await self._claim()
            try:
                return await self._settle(stay, reason, began=began)
            except StorageFailed:
                await stay.give_up()
                raise
            except (RuleBroken, NotResumed, SandboxMisbehaved, TimeoutError) as error:
                extra = {"session_id": self._parts.id, "attempt": attempt, "error": repr(error)}
                logger.warning("session.restore_failed", extra=extra)
                await stay.give_up()
        raise NotSettled

    async def _refuse_too_large(self) -> None:
        """What fits into no sandbox of this profile is not tried in one after the other."""
        parts, standing = self._parts, self._parts.standing
        if parts.profile is None or not standing.agent_session_id:
            return
        size = await parts.ports.transcripts.conversation_bytes(
            parts.id, standing.agent_session_id, branch=standing.branch
        )
        if size >= parts.profile.resources.home:
            extra = {"session_id": parts.id, "size": size, "home": parts.profile.resources.home}
            logger.warning("session.conversation_too_large", extra=extra)
            raise ConversationTooLarge

    async def _claim(self) -> Stay:
        parts = self._parts
        sandbox = await parts.ports.pool.claim(
            parts.view.profile,
            session=parts.id,
            on_place=self._take_place,
            used_tokens=total_tokens(parts.view.usage),
        )
        stay = parts.begin_stay(sandbox)
        self._on_stay(stay)
        return stay

    def _take_place(self, place: int) -> None:
        view = self._parts.view
        if view.state in {"waiting", "waking"}:
            self._parts.journal.change(replace(view, place=place))
        self._on_place()

    async def _settle(self, stay: Stay, reason: Reason, *, began: float) -> Stay:
        checkpoint, resumed = None, None
        if reason != "new":
            checkpoint = await self._restore(stay)
            resumed = await self._resume(stay)
        if stay.over.is_set():
            raise NotResumed("The sandbox is gone.")
        assigned = SandboxAssigned(
            sandbox_id=stay.sandbox.id,
            waited_ms=round((self._parts.now() - began) * 1000),
            reason=reason,
            checkpoint_id=checkpoint.id if checkpoint else "",
            restored_bytes=checkpoint.unpacked if checkpoint else 0,
        )
        await self._parts.order.exclusively(partial(self._assign, stay, assigned, resumed))
        return stay

    async def _assign(
        self, stay: Stay, assigned: SandboxAssigned, resumed: AgentResumed | None
    ) -> None:
        """A turn that waits for an answer goes on, if the agent there asks for it again."""
        standing = self._parts.standing
        if standing.view.turn_id is not None and not (resumed is not None and resumed.pending):
            lost = [
                *recovery.close_turn(standing, text=endings.QUESTION_LOST),
                *recovery.offer(standing, endings.QUESTION_LOST),
            ]
            await self._parts.journal.write([Draft(event) for event in lost])
        await self._parts.intake.assign(stay, assigned)

    # --- what it had -------------------------------------------------------------------------

    async def _restore(self, stay: Stay) -> Checkpoint | None:
        """Its files, as they were last kept or gone back to, whichever was later."""
        parts = self._parts
        checkpoint = await self._current()
        if checkpoint is None:
            return None
        parts.journal.change(replace(parts.view, place=None, restoring_bytes=checkpoint.unpacked))
        async with stay.used():
            await parts.checkpoints.restore(checkpoint, stay.sandbox, profile=parts.known_profile)
        return checkpoint

    async def _current(self) -> Checkpoint | None:
        """Going back begins a branch: what was kept in it is later than that, told or not."""
        parts, chosen = self._parts, self._parts.standing.went_back_to
        latest = await parts.checkpoints.latest(parts.id)
        if chosen and (latest is None or latest.branch != parts.standing.branch):
            try:
                return await parts.checkpoints.get(parts.id, chosen)
            except UnknownCheckpoint:
                extra = {"session_id": parts.id, "checkpoint_id": chosen}
                logger.warning("checkpoint.gone", extra=extra)
        return latest

    async def _resume(self, stay: Stay) -> AgentResumed | None:
        """Its conversation. One of which nothing was ever written down begins anew."""
        parts, standing = self._parts, self._parts.standing
        if not standing.agent_session_id:
            return None
        branch = standing.branch
        if not await parts.ports.transcripts.position(parts.id, branch=branch):
            return None
        command = ResumeAgent(
            agent_session_id=standing.agent_session_id,
            model=standing.view.model,
            permission_mode=next((m for m in MODES if m == standing.view.permission_mode), None),
            pending=recovery.pending_tool(standing),
        )
        return await stay.resume(command)
