"""Asks the profile's rules and the policies that it names, and never takes silence for consent.

The rules are a policy like any other (`profile`), asked first. A policy that is not in the image,
does not load, raises, answers late or with what is no verdict refuses what it was to judge.
"""

import copy
import importlib.metadata
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from orchestrator.plugin_api.policies import (
    ENTRY_POINTS,
    MAX_TEXT,
    Annotate,
    Block,
    Forbid,
    Pass,
    PromptPolicy,
    PromptVerdict,
    ToolPolicy,
    ToolVerdict,
)
from orchestrator.protocol.agent import AgentSetup
from shim.policy_thread import Busy, PolicyThread

PROFILE = "profile"
"""The name of the profile's own rules among the policies."""
LOAD_SECONDS = 10.0
JUDGE_SECONDS = 5.0
"""Per policy and question."""

log = logging.getLogger("shim.policies")


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    policy: str
    reason: str


class Noted(msgspec.Struct, frozen=True, kw_only=True):
    policy: str
    note: str


class PolicyFailed(Exception):
    """A policy gave no verdict; `sentence` says what a person may know of it."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class _Judge:
    """One policy in its thread. Until it is loaded it fails."""

    def __init__(self, name: str, make: Callable[[], object]) -> None:
        self.name = name
        self._make = make
        self._thread = PolicyThread(name)
        self._policy: object | None = None
        self._failure = f"The policy `{name}` is not loaded."

    async def load(self) -> None:
        try:
            policy = await self._in_time(self._make, seconds=LOAD_SECONDS)
        except PolicyFailed as failed:
            self._failure = failed.sentence
            return
        if isinstance(policy, PromptPolicy | ToolPolicy):
            self._policy = policy
        else:
            self._failure = f"The policy `{self.name}` judges neither prompts nor tools."

    async def judge_prompt(self, prompt: str) -> PromptVerdict:
        """Raises PolicyFailed."""
        policy = self._loaded()
        if not isinstance(policy, PromptPolicy):
            return Pass()
        said = await self._in_time(lambda: policy.judge_prompt(prompt), seconds=JUDGE_SECONDS)
        verdict: PromptVerdict = self._checked(said, (Pass, Block, Annotate))
        return verdict

    async def judge_tool(self, tool_name: str, tool_input: dict[str, Any]) -> ToolVerdict:
        """Raises PolicyFailed."""
        policy = self._loaded()
        if not isinstance(policy, ToolPolicy):
            return Pass()
        said = await self._in_time(
            lambda: policy.judge_tool(tool_name, copy.deepcopy(tool_input)), seconds=JUDGE_SECONDS
        )
        verdict: ToolVerdict = self._checked(said, (Pass, Forbid))
        return verdict

    def stop(self) -> None:
        self._thread.stop()

    def _loaded(self) -> object:
        if self._policy is None:
            raise PolicyFailed(self._failure)
        return self._policy

    async def _in_time(self, work: Callable[[], Any], *, seconds: float) -> Any:
        try:
            return await self._thread.run(work, seconds=seconds)
        except PolicyFailed:
            raise
        except (TimeoutError, Busy) as error:
            raise PolicyFailed(f"The policy `{self.name}` did not answer in time.") from error
        except Exception as error:
            log.warning("policy.failed", exc_info=True, extra={"policy": self.name})
            raise PolicyFailed(f"The policy `{self.name}` failed.") from error

    def _checked(self, verdict: object, kinds: tuple[type[msgspec.Struct], ...]) -> Any:
        """A verdict of the right kind, of which all fields are texts."""
        if isinstance(verdict, kinds):
            fields = msgspec.structs.asdict(verdict)
            if all(isinstance(text, str) for text in fields.values()):
                return type(verdict)(**{name: text[:MAX_TEXT] for name, text in fields.items()})
        raise PolicyFailed(f"The policy `{self.name}` gave no verdict.")


class Policies:
    """Those of one sandbox. Asked before `load`, they refuse everything."""

    def __init__(self, setup: AgentSetup) -> None:
        self._judges: list[_Judge] = []
        if setup.forbidden or setup.prompt_rules:
            self._judges.append(_Judge(PROFILE, lambda: _profile_rules(setup)))
        for name in setup.policies:
            self._judges.append(_Judge(name, lambda name=name: _installed(name)))  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self._judges)

    async def load(self) -> None:
        for judge in self._judges:
            await judge.load()

    async def judge_prompt(self, prompt: str) -> Refused | list[Noted]:
        """The first refusal, or what there is to be noted."""
        notes: list[Noted] = []
        for judge in self._judges:
            try:
                verdict = await judge.judge_prompt(prompt)
            except PolicyFailed as failed:
                return Refused(policy=judge.name, reason=failed.sentence)
            match verdict:
                case Block(reason=reason):
                    return Refused(policy=judge.name, reason=reason)
                case Annotate(note=note):
                    notes.append(Noted(policy=judge.name, note=note))
                case Pass():
                    pass
        return notes

    async def judge_tool(self, tool_name: str, tool_input: dict[str, Any]) -> Refused | None:
        """The first refusal."""
        for judge in self._judges:
            try:
                verdict = await judge.judge_tool(tool_name, tool_input)
            except PolicyFailed as failed:
                return Refused(policy=judge.name, reason=failed.sentence)
            if isinstance(verdict, Forbid):
                return Refused(policy=judge.name, reason=verdict.reason)
        return None

    def close(self) -> None:
        for judge in self._judges:
            judge.stop()


def _profile_rules(setup: AgentSetup) -> object:
    from orchestrator.plugin_api.profile_rules import BadPattern, ProfileRules  # brings RE2 along

    try:
        return ProfileRules(forbidden=setup.forbidden, prompt_rules=setup.prompt_rules)
    except BadPattern as error:
        raise PolicyFailed(str(error)) from error


def _installed(name: str) -> object:
    found = [*importlib.metadata.entry_points(group=ENTRY_POINTS, name=name)]
    if len(found) != 1:
        there_is = "is not in" if not found else "is more than once in"
        raise PolicyFailed(f"The policy `{name}` {there_is} this sandbox's image.")
    return found[0].load()()
