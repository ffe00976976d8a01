"""The turns of one session: which prompt runs next, and whether any may.

Prompts that are sent while a turn runs wait in order and run after it, also after a stopped one:
whoever wants them not to run removes them. After one that was not finished they wait until somebody
says how to go on. Whoever calls holds the session's turn to write.
"""

import secrets
from collections.abc import Sequence

import msgspec

from orchestrator.protocol.chat import QueuedPrompt, SessionView
from orchestrator.protocol.commands import Interrupt, StartTurn
from orchestrator.protocol.control_events import InterruptRequested, PromptAccepted, TurnStarted
from orchestrator.protocol.events import Event
from orchestrator.protocol.ids import ClientId, TurnId
from orchestrator.sessions.errors import NothingToStop
from orchestrator.sessions.journal.journal import Draft, Journal
from orchestrator.sessions.profiles import Profile
from orchestrator.sessions.stays.stay import Stay
from orchestrator.sessions.view.standing import Standing

CASEMATE = "Casemate"
"""Who interrupts where no person did."""


class Interruption(msgspec.Struct, frozen=True, kw_only=True):
    """Casemate stopped a turn. With a sentence its prompt is offered again."""

    turn_id: TurnId
    sentence: str = ""


class Turns:
    """While it is `paused` for any reason, prompts wait."""

    def __init__(self, journal: Journal, *, profile: Profile | None) -> None:
        self._journal = journal
        self._profile = profile
        self._pauses: set[str] = set()
        self.stay: Stay | None = None
        """Where the session is at home; none while it waits, wakes or rests."""
        self.interruption: Interruption | None = None

    @property
    def view(self) -> SessionView:
        return self._journal.view

    @property
    def standing(self) -> Standing:
        return self._journal.standing

    @property
    def may_start(self) -> bool:
        """Whether a prompt that comes now starts its turn at once."""
        return self.is_between and not self._pauses and not self.view.queue

    @property
    def is_between(self) -> bool:
        """There is a sandbox, and it has nothing to do."""
        return self.stay is not None and self.view.state == "idle"

    @property
    def has_work(self) -> bool:
        """Something would happen in a sandbox without anybody asking for more."""
        return self.prompt_waits or bool(self.standing.undelivered) or self.runs_again

    @property
    def prompt_waits(self) -> bool:
        """One would run now, for all that there is before it; not behind a turn that waits for an
        answer."""
        free = self.view.turn_id is None and not self.standing.held
        return free and bool(self.view.queue)

    @property
    def runs_again(self) -> bool:
        """A prompt was lost with its sandbox, and the profile has it run again by itself."""
        runs = self._profile is not None and self._profile.unfinished == "run"
        return runs and self.standing.by_loss and self.view.unfinished is not None

    def pause(self, reason: str) -> None:
        self._pauses.add(reason)

    def unpause(self, reason: str) -> None:
        """`go_on` then starts what waits."""
        self._pauses.discard(reason)

    async def go_on(self) -> None:
        """Run the next waiting prompt, if there is nothing else to do."""
        if not self.is_between or self._pauses:
            return
        unfinished = self.view.unfinished
        if unfinished is not None and self.runs_again:
            again = PromptAccepted(
                client_id=ClientId(secrets.token_hex(16)),
                text=unfinished.text,
                by=unfinished.by,
                again=unfinished.client_id,
            )
            await self.start(again.client_id, again.text, again)
        elif self.view.queue and not self.standing.held:
            following: QueuedPrompt = self.view.queue[0]
            await self.start(following.client_id, following.text)

    async def start(self, client_id: ClientId, text: str, *before: Event) -> None:
        """In the log first; then the sandbox hears of it."""
        stay = self.stay
        if stay is None:
            raise NothingToStop
        turn_id = TurnId(secrets.token_hex(8))
        await self.write([*before, TurnStarted(turn_id=turn_id, client_id=client_id)])
        await stay.send(StartTurn(turn_id=turn_id, text=text))

    async def interrupt(self, by: str) -> None:
        """Asked again for the same turn it is only sent again. Raises NothingToStop."""
        turn_id = self.view.turn_id
        if turn_id is None or self.stay is None:
            raise NothingToStop
        if self.standing.stopping != turn_id:
            await self.write([InterruptRequested(turn_id=turn_id, by=by)])
        await self.stay.send(Interrupt(turn_id=turn_id))

    async def interrupt_for(self, sentence: str) -> None:
        """Stop the turn because Casemate must; with a sentence its prompt is offered again, unless
        a person had stopped it before."""
        turn_id = self.view.turn_id
        if turn_id is None or self.stay is None:
            return
        if self.interruption is None or self.interruption.turn_id != turn_id:
            offered = "" if self.standing.stopping == turn_id else sentence
            self.interruption = Interruption(turn_id=turn_id, sentence=offered)
        await self.interrupt(CASEMATE)

    async def take_up(self) -> None:
        """The turn that is open goes on in the sandbox that outlived the control plane: whatever
        was on its way there is sent again."""
        view, standing, stay = self.view, self.standing, self.stay
        if stay is None or view.turn_id is None:
            return
        if standing.prompt is not None:
            await stay.send(StartTurn(turn_id=view.turn_id, text=standing.prompt.text))
        if standing.stopping == view.turn_id:
            await stay.send(Interrupt(turn_id=view.turn_id))

    async def write(self, events: Sequence[Event]) -> None:
        await self._journal.write([Draft(event) for event in events])
