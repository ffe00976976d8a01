import asyncio
import importlib.metadata
import threading
import time
from typing import Any

import pytest
from shim import policies as policies_module
from shim.policies import Noted, Policies, Refused

from orchestrator.plugin_api.policies import Annotate, Block, Forbid, Pass
from orchestrator.protocol.agent import AgentSetup, PromptRule, ToolRule


class Fine:
    async def judge_prompt(self, prompt: str) -> Any:
        await asyncio.sleep(0)
        return Annotate(note=f"note on {prompt}")

    def judge_tool(self, tool_name: str, tool_input: dict[str, Any]) -> Any:
        tool_input.clear()
        return Forbid(reason="no") if tool_name == "Evil" else Pass()


class Raises:
    def judge_prompt(self, prompt: str) -> Any:
        raise RuntimeError(prompt)

    def judge_tool(self, tool_name: str, tool_input: dict[str, Any]) -> Any:
        raise SystemError


class Hangs:
    released = threading.Event()

    def judge_prompt(self, prompt: str) -> Any:
        self.released.wait(20)
        return Pass()

    async def judge_tool(self, tool_name: str, tool_input: dict[str, Any]) -> Any:
        await asyncio.sleep(20)


class Junk:
    def judge_prompt(self, prompt: str) -> Any:
        return None

    def judge_tool(self, tool_name: str, tool_input: dict[str, Any]) -> Any:
        return Block(reason="of the other kind")


class Lies:
    def judge_prompt(self, prompt: str) -> Any:
        return Block(reason=5)  # type: ignore[arg-type]

    def judge_tool(self, tool_name: str, tool_input: dict[str, Any]) -> Any:
        return Forbid(reason="x" * 1_000_000)


class Mute:
    pass


class Unmakeable:
    def __init__(self) -> None:
        raise OSError("no licence")


class PromptsOnly:
    def judge_prompt(self, prompt: str) -> Any:
        return Block(reason="no") if "bad" in prompt else Pass()


INSTALLED = (Fine, Raises, Hangs, Junk, Lies, Mute, Unmakeable, PromptsOnly)


class _Distribution:
    def __init__(self, made: type) -> None:
        self.made = made

    def load(self) -> type:
        return self.made


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """As if these were in the image; `Twice` is named by two packages."""
    found = {made.__name__: [_Distribution(made)] for made in INSTALLED}
    found["Twice"] = [_Distribution(Fine)] * 2
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda *, group, name: found.get(name, [])
    )
    monkeypatch.setattr(policies_module, "JUDGE_SECONDS", 0.2)
    monkeypatch.setattr(Hangs, "released", threading.Event())
    yield
    Hangs.released.set()


@pytest.fixture
async def policies():
    made = []

    async def make(*names: str, **setup: Any) -> Policies:
        loaded = Policies(AgentSetup(model="m", policies=list(names), **setup))
        made.append(loaded)
        await loaded.load()
        return loaded

    yield make
    for one in made:
        one.close()


async def test_a_policy_notes_and_forbids(policies):
    """What a policy notes is passed on, what it forbids is refused, in its name."""
    fine = await policies("Fine")
    assert await fine.judge_prompt("x") == [Noted(policy="Fine", note="note on x")]
    assert await fine.judge_tool("Evil", {}) == Refused(policy="Fine", reason="no")
    assert await fine.judge_tool("Good", {}) is None


async def test_a_policy_cannot_change_what_runs(policies):
    """It judges a copy of the input."""
    given = {"command": ["ls"]}
    assert await (await policies("Fine")).judge_tool("Good", given) is None
    assert given == {"command": ["ls"]}


@pytest.mark.parametrize(
    "name", ["Raises", "Hangs", "Junk", "Mute", "Unmakeable", "NotThere", "Twice"]
)
async def test_a_policy_that_gives_no_verdict_refuses(policies, name):
    """Missing, broken, hanging or babbling: nothing that it was to judge goes on."""
    broken = await policies(name)
    for ruling in (await broken.judge_prompt("x"), await broken.judge_tool("Bash", {})):
        assert isinstance(ruling, Refused)
        assert ruling.policy == name
        assert f"`{name}`" in ruling.reason


async def test_what_a_policy_says_is_bounded_text(policies):
    """A reason that is no text is no verdict, and a long one is cut."""
    lies = await policies("Lies")
    assert isinstance(await lies.judge_prompt("x"), Refused)
    assert len((await lies.judge_tool("Bash", {})).reason) == 4000


async def test_a_policy_of_one_kind_leaves_the_other_alone(policies):
    """One that judges prompts only lets tools pass."""
    prompts = await policies("PromptsOnly")
    assert await prompts.judge_tool("Bash", {}) is None
    assert isinstance(await prompts.judge_prompt("bad"), Refused)
    assert await prompts.judge_prompt("good") == []


async def test_before_they_are_loaded_policies_refuse():
    """Nothing slips through while the sandbox starts."""
    early = Policies(AgentSetup(model="m", policies=["Fine"]))
    assert isinstance(await early.judge_prompt("x"), Refused)
    early.close()


async def test_one_that_hangs_holds_up_nobody_else(policies):
    """While a policy hangs the shim goes on, and calls behind it are refused within their time."""
    hanging, fine = await policies("Hangs"), await policies("Fine")
    began = time.monotonic()
    calls = [hanging.judge_prompt(str(n)) for n in range(200)]
    rulings, noted = await asyncio.gather(asyncio.gather(*calls), fine.judge_prompt("x"))
    assert time.monotonic() - began < 5
    assert all(isinstance(ruling, Refused) for ruling in rulings)
    assert noted


async def test_the_profiles_rules_come_first_and_policies_add_up(policies):
    """The profile is a policy like any other; the first refusal counts, notes are gathered."""
    both = await policies(
        "Fine",
        "PromptsOnly",
        prompt_rules=[
            PromptRule(pattern="(?i)secret", action="annotate", text="Mind the secret."),
            PromptRule(pattern="never", action="block", text="Never."),
        ],
        forbidden=[ToolRule(tool="Bash", pattern=r"\brm\b", reason="No deleting.")],
    )
    assert await both.judge_prompt("a SECRET") == [
        Noted(policy="profile", note="Mind the secret."),
        Noted(policy="Fine", note="note on a SECRET"),
    ]
    assert await both.judge_prompt("never") == Refused(policy="profile", reason="Never.")
    assert await both.judge_prompt("bad") == Refused(policy="PromptsOnly", reason="no")
    refused = await both.judge_tool("Bash", {"command": "rm x"})
    assert refused == Refused(policy="profile", reason="No deleting.")


async def test_rules_that_cannot_be_used_refuse(policies):
    """A pattern that the engine does not know is no reason to let things pass."""
    broken = await policies(prompt_rules=[PromptRule(pattern="(?=x)", action="block", text="t")])
    ruling = await broken.judge_prompt("anything")
    assert isinstance(ruling, Refused)
    assert "(?=x)" in ruling.reason


async def test_no_rules_cost_nothing(policies):
    """Without rules and policies there is nothing to ask."""
    assert len(await policies()) == 0
