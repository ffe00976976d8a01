"""A person of a chaos run: prompts, answers, stops, and runs again what was not finished.

Every prompt carries a token, so that it can be found again: in the files that it writes, and in
what the model is sent later. What the player sent and was told is kept for `invariants`.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from typing import Literal

import msgspec

from orchestrator.protocol.chat import (
    BrowserCommand,
    DecidePermission,
    GiveAnswer,
    LetGo,
    Prompt,
    RunAgain,
    SessionView,
    Stop,
)
from orchestrator.protocol.commands import PermissionDecision
from orchestrator.protocol.control_events import PromptAccepted
from orchestrator.protocol.ids import ClientId
from orchestrator.protocol.sandbox_events import PermissionRequested, QuestionAsked
from tests.chaos.follower import Follower, new_id

JOURNAL = "journal.txt"
RESEND = 2.0
"""Seconds after which a prompt that was not confirmed is sent again, under the same id."""
SETTLE = 120.0
"""Seconds that a session may take until nothing of it runs or waits any more."""
REST = 0.4
"""Seconds between two looks."""

Kind = Literal["say", "write", "ask", "long", "two", "hog", "think"]
KINDS: dict[Kind, int] = {"say": 3, "write": 5, "ask": 1, "long": 2, "two": 1, "hog": 1, "think": 1}
"""With their weights."""


class Sent(msgspec.Struct, kw_only=True):
    """A prompt that the player sent."""

    client_id: ClientId
    token: str
    writes: bool
    again: ClientId | None = None
    confirmed: bool = False


class Player:
    """`name` is unique in a run. Two browsers follow: what one sees, the other must see."""

    def __init__(self, name: str, session_id: str, browsers: list[Follower], *, seed: int) -> None:
        self.name = name
        self.session_id = session_id
        self.browsers = browsers
        self.sent: dict[ClientId, Sent] = {}
        self.tokens = 0
        self.gave_up = ""
        self._random = random.Random(f"{seed}/{name}")
        self._answered: set[str] = set()
        self._stopped: set[str] = set()

    @property
    def view(self) -> SessionView | None:
        return self.browsers[0].view

    async def play(self, *, until: float) -> None:
        """Until this time (monotonic), then until all that was begun has come to its end."""
        try:
            while time.monotonic() < until and not self._is_over():
                await self._round()
            await self._settle()
        except TimeoutError:
            view = self.view
            state = "no view" if view is None else msgspec.json.encode(view).decode()[:1500]
            self.gave_up = f"{self.name}: nothing happened any more; {state}"

    async def _round(self) -> None:
        kind = self._random.choices(list(KINDS), list(KINDS.values()))[0]
        stops = kind == "long" and self._random.random() < 0.5
        wanted = [self._prompt(kind)] if kind != "two" else [self._prompt("write") for _ in "ab"]
        for sent, text in wanted:
            await self._send(sent, text)
        await self._until_quiet(stops=stops)
        thinks = self._random.uniform(2, 8) if kind == "think" else self._random.uniform(0, 1.5)
        await asyncio.sleep(thinks)

    def _prompt(self, kind: Kind) -> tuple[Sent, str]:
        self.tokens += 1
        token = f"{self.name}-{self.tokens:03d}"
        text = {
            "say": f"!say {self._random.randint(3, 30)} words\n[{token}]",
            "write": f"!bash echo {token} >>{JOURNAL}",
            "two": f"!bash echo {token} >>{JOURNAL}",
            "ask": f"!ask\n[{token}]",
            "hog": f"!bash head -c 3G /dev/zero | tail -c 1 | wc -c\n[{token}]",
            "think": f"!say 2 words\n[{token}]",
            "long": f"!say 60 words at 15/s\n[{token}]",
        }[kind]
        writes = kind in ("write", "two")
        return Sent(client_id=ClientId(new_id()), token=token, writes=writes), text

    async def _send(self, sent: Sent, text: str) -> None:
        self.sent[sent.client_id] = sent
        await self._insist(Prompt(client_id=sent.client_id, text=text), sent)

    async def _run_again(self, unfinished: ClientId) -> None:
        before = self.sent[unfinished]
        sent = Sent(
            client_id=ClientId(new_id()), token=before.token, writes=before.writes, again=unfinished
        )
        self.sent[sent.client_id] = sent
        command = RunAgain(client_id=sent.client_id, unfinished=unfinished)
        await self._insist(command, sent, gone=lambda: self._unfinished() != unfinished)

    async def _insist(
        self, command: BrowserCommand, sent: Sent, *, gone: Callable[[], bool] = lambda: False
    ) -> None:
        """Send until it is confirmed in the log: twice is once. A refusal is heard and honoured."""
        browser = self.browsers[0]
        deadline = time.monotonic() + SETTLE
        heard = len(browser.refusals)
        while not self._is_accepted(sent) and not gone() and not self._is_over():
            if time.monotonic() > deadline:
                raise TimeoutError
            for refused in browser.refusals[heard:]:
                if refused.client_id == sent.client_id and refused.problem.status not in (429, 503):
                    return
            heard = len(browser.refusals)
            with contextlib.suppress(ConnectionError):
                await browser.send(command)
            with contextlib.suppress(TimeoutError):
                await browser.until(lambda _: self._is_accepted(sent), limit=RESEND)
        sent.confirmed = self._is_accepted(sent)

    def _is_accepted(self, sent: Sent) -> bool:
        return any(
            isinstance(event, PromptAccepted) and event.client_id == sent.client_id
            for event in reversed(self.browsers[0].events)
        )

    def _unfinished(self) -> ClientId | None:
        view = self.view
        return view.unfinished.client_id if view is not None and view.unfinished else None

    def _is_over(self) -> bool:
        return self.view is not None and self.view.state in ("ended", "failed", "ending")

    async def _settle(self) -> None:
        await self._until_quiet(stops=False)

    async def _until_quiet(self, *, stops: bool) -> None:
        """Answer what is asked until the session rests with nothing to do."""
        deadline = time.monotonic() + SETTLE
        while not self._is_quiet():
            if time.monotonic() > deadline:
                raise TimeoutError
            with contextlib.suppress(ConnectionError):
                await self._react(stops=stops)
            await asyncio.sleep(REST)

    def _is_quiet(self) -> bool:
        view = self.view
        if view is None or view.unfinished is not None or view.queue or view.turn_id is not None:
            return self._is_over()
        return view.state in ("idle", "hibernated") or self._is_over()

    async def _react(self, *, stops: bool) -> None:
        view, browser = self.view, self._random.choice(self.browsers)
        if view is None:
            return
        for permission in view.permissions:
            await browser.send(self._decision(permission))
        for question in view.questions:
            await browser.send(_answer(question))
        if stops and view.turn_id is not None and view.turn_id not in self._stopped:
            self._stopped.add(view.turn_id)
            await asyncio.sleep(self._random.uniform(0.2, 1.5))
            await browser.send(Stop())
        if view.unfinished is not None and view.state in ("idle", "hibernated"):
            if self._random.random() < 0.7 and view.unfinished.client_id in self.sent:
                await self._run_again(view.unfinished.client_id)
            else:
                await browser.send(LetGo(unfinished=view.unfinished.client_id))

    def _decision(self, request: PermissionRequested) -> DecidePermission:
        decision = PermissionDecision(choice="allow", input_hash=request.input_hash)
        return DecidePermission(permission_id=request.permission_id, decision=decision)


def _answer(asked: QuestionAsked) -> GiveAnswer:
    answers = {one.question: one.options[0].label for one in asked.questions}
    return GiveAnswer(question_id=asked.question_id, answers=answers)
