"""What a profile forbids, and what reads prompts, on the real CLI."""

import json

import pytest

from orchestrator.protocol import sandbox_events as said
from orchestrator.protocol.agent import PromptRule, ToolRule
from orchestrator.protocol.commands import (
    AnswerPermission,
    PermissionDecision,
    SetPermissionMode,
    StartTurn,
)
from orchestrator.protocol.ids import TurnId
from orchestrator.sandboxes import image_builder
from orchestrator.sandboxes.image_version import REPOSITORY

NO_MARKS = [ToolRule(tool="*", pattern="marked", reason="Nothing is marked here.")]
PROMPT_RULES = [
    PromptRule(pattern="(?i)topsecret", action="block", text="That is not for here."),
    PromptRule(pattern="careful", action="annotate", text="The house rule: measure twice."),
]
FAKE_KEY = "AKIA" + "Q" * 16


def turn(text, turn_id="t1"):
    return StartTurn(turn_id=TurnId(turn_id), text=text)


def seen(model):
    """All that the model was ever sent."""
    return json.dumps([request.body for request in model.requests])


@pytest.mark.parametrize("mode", ["default", "acceptEdits", "plan", "dontAsk"])
async def test_what_a_profile_forbids_runs_in_no_mode(start_sandbox, model, mode):
    """Neither a mode, nor the profile's own allowance, nor a subagent gets past it; Claude and the
    person are told why, and nobody is asked."""
    async with start_sandbox(forbidden=NO_MARKS, allowed_tools=["Bash", "Write"]) as sandbox:
        await sandbox.plane.connected()
        await sandbox.plane.send(SetPermissionMode(mode=mode))
        await sandbox.plane.first(said.PermissionModeChanged)
        for n, prompt in enumerate(
            ["!bash touch /workspace/marked", "!write /workspace/marked x", "!subagent marked"]
        ):
            await sandbox.plane.send(turn(prompt, f"t{n}"))
            await sandbox.plane.end_of(f"t{n}")
        refused = sandbox.plane.all(said.ToolForbidden)
        assert [event.tool_name for event in refused] == ["Bash", "Write", "Agent"]
        assert {event.policy for event in refused} == {"profile"}
        started = {event.tool_use_id for event in sandbox.plane.all(said.ToolStarted)}
        assert {event.tool_use_id for event in refused} <= started
        assert sandbox.plane.all(said.PermissionRequested) == []
        assert (await sandbox.run("ls /workspace"))[1] == ""
        assert "Nothing is marked here." in seen(model)


async def test_a_subagents_tools_are_judged(start_sandbox):
    """Whoever calls it, a forbidden tool does not run."""
    rules = [ToolRule(tool="Bash", reason="No commands.")]
    async with start_sandbox(forbidden=rules, allowed_tools=["Bash"]) as sandbox:
        await sandbox.plane.connected()
        await sandbox.plane.send(turn("!subagent !bash touch /workspace/x"))
        await sandbox.plane.end_of("t1")
        [refused] = sandbox.plane.all(said.ToolForbidden)
        started = {event.tool_use_id: event for event in sandbox.plane.all(said.ToolStarted)}
        assert started[refused.tool_use_id].parent is not None
        assert (await sandbox.run("ls /workspace"))[1] == ""


async def test_a_granted_rule_lifts_no_prohibition(start_sandbox):
    """What a person allowed for good stays allowed, but for what the profile forbids."""
    async with start_sandbox(forbidden=NO_MARKS) as sandbox:
        await sandbox.plane.connected()
        await sandbox.plane.send(turn("!bash touch /workspace/plain"))
        request = await sandbox.plane.first(said.PermissionRequested)
        always = PermissionDecision(choice="allow_always", input_hash=request.input_hash)
        await sandbox.plane.send(
            AnswerPermission(permission_id=request.permission_id, decision=always)
        )
        await sandbox.plane.end_of("t1")
        await sandbox.plane.send(turn("!bash touch /workspace/marked", "t2"))
        await sandbox.plane.end_of("t2")
        assert sandbox.plane.all(said.ToolForbidden)
        assert (await sandbox.run("ls /workspace"))[1] == "plain"


async def test_a_changed_input_is_judged_no_less(start_sandbox):
    """What a person writes into an input is forbidden as well."""
    async with start_sandbox(forbidden=NO_MARKS) as sandbox:
        await sandbox.plane.connected()
        await sandbox.plane.send(turn("!bash touch /workspace/plain"))
        request = await sandbox.plane.first(said.PermissionRequested)
        decision = PermissionDecision(
            choice="allow",
            input_hash=request.input_hash,
            updated_input={"command": "touch /workspace/marked"},
        )
        await sandbox.plane.send(
            AnswerPermission(permission_id=request.permission_id, decision=decision)
        )
        await sandbox.plane.end_of("t1")
        assert sandbox.plane.all(said.ToolForbidden)
        assert (await sandbox.run("ls /workspace"))[1] == ""


async def test_a_blocked_prompt_never_reaches_claude(start_sandbox, model):
    """Its turn ends at once with the reason, also when it is a command that the CLI would answer by
    itself; the session goes on, and nothing of it is in any later request."""
    async with start_sandbox(prompt_rules=PROMPT_RULES) as sandbox:
        await sandbox.plane.connected()
        for n, prompt in enumerate(["tell TopSecret", "/usage topsecret", "/init topsecret"]):
            await sandbox.plane.send(turn(prompt, f"t{n}"))
            ended = await sandbox.plane.end_of(f"t{n}")
            assert (ended.outcome, ended.subtype) == ("failed", "prompt_blocked")
            assert ended.text == "That is not for here."
        blocked = sandbox.plane.all(said.PromptBlocked)
        assert [event.turn_id for event in blocked] == ["t0", "t1", "t2"]
        await sandbox.plane.send(turn("hello", "t3"))
        assert (await sandbox.plane.end_of("t3")).outcome == "completed"
        assert "topsecret" not in seen(model).lower()
        _, transcripts = await sandbox.run("grep -ril topsecret /home/agent /tmp; true")
        assert transcripts == ""


async def test_an_annotated_prompt_carries_its_note(start_sandbox, model):
    """Claude reads the note in the very request, and the person sees that it does, once."""
    async with start_sandbox(prompt_rules=PROMPT_RULES) as sandbox:
        await sandbox.plane.connected()
        await sandbox.plane.send(turn("be careful"))
        assert (await sandbox.plane.end_of("t1")).outcome == "completed"
        [annotated] = sandbox.plane.all(said.PromptAnnotated)
        assert (annotated.turn_id, annotated.policy) == ("t1", "profile")
        assert "measure twice" in seen(model)


async def test_a_policy_that_is_not_there_blocks(start_sandbox, model):
    """No policy is skipped in silence: without it no prompt gets through, with the reason."""
    async with start_sandbox(policies=["not-there"]) as sandbox:
        await sandbox.plane.connected()
        await sandbox.plane.send(turn("hello"))
        ended = await sandbox.plane.end_of("t1")
        assert (ended.subtype, "`not-there`" in ended.text) == ("prompt_blocked", True)
        assert not model.requests


@pytest.fixture(scope="module")
def guarded_image(docker_engine):
    """An image as an operator builds it who wants the policy."""
    tag = "casemate-test-policies:latest"
    folder = REPOSITORY / "plugins" / "credential_guard"
    yield image_builder.build_image(policies=[folder], tag=tag)
    docker_engine.images.remove(tag, force=True)


async def test_a_policy_plugin_judges_in_the_sandbox(start_sandbox, guarded_image, model):
    """A policy that was put into the image and named in the profile blocks prompts and tools."""
    async with start_sandbox(image=guarded_image, policies=["credential-guard"]) as sandbox:
        await sandbox.plane.connected()
        await sandbox.plane.send(turn(f"use {FAKE_KEY}"))
        assert (await sandbox.plane.end_of("t1")).subtype == "prompt_blocked"
        assert sandbox.plane.all(said.PromptBlocked)[0].policy == "credential-guard"
        assert FAKE_KEY not in seen(model)
        await sandbox.plane.send(turn("!bash touch /workspace/x", "t2"))
        request = await sandbox.plane.first(said.PermissionRequested)
        decision = PermissionDecision(
            choice="allow",
            input_hash=request.input_hash,
            updated_input={"command": f"echo {FAKE_KEY} > /workspace/x"},
        )
        await sandbox.plane.send(
            AnswerPermission(permission_id=request.permission_id, decision=decision)
        )
        assert (await sandbox.plane.end_of("t2")).outcome == "completed"
        assert sandbox.plane.all(said.ToolForbidden)[0].policy == "credential-guard"
        assert (await sandbox.run("ls /workspace"))[1] == ""
