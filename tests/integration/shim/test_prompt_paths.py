"""What `@path` in a prompt makes the CLI read without asking."""

import json

import pytest

from orchestrator.protocol import sandbox_events as said
from orchestrator.protocol.agent import ToolRule
from orchestrator.protocol.commands import StartTurn
from orchestrator.protocol.ids import TurnId

PREPARE = (
    "printf 'inside-%s\\n' a b c d > /workspace/in.txt; mkdir /workspace/dir;"
    " touch /workspace/dir/inside-listed; echo outside-tmp > /tmp/out.txt;"
    " echo outside-home > /home/agent/out.txt; mkdir /tmp/dir; touch /tmp/dir/outside-listed;"
    " ln -s /tmp/out.txt /workspace/link.txt; ln -s /tmp /workspace/linked;"
    " ln -s linked/out.txt /workspace/twice.txt; ln -s /proc/self /workspace/proc;"
    " ln -s in.txt /workspace/fine.txt"
)
OUTSIDE = [
    "@/tmp/out.txt",
    '@"/tmp/out.txt"',
    "@../tmp/out.txt",
    "@./../tmp/out.txt",
    "@/workspace/../tmp/out.txt",
    "@dir/../../tmp/out.txt",
    "@~/out.txt",
    "@/home/agent/out.txt",
    "@link.txt",
    "@linked/out.txt",
    "@./linked/out.txt",
    "@twice.txt",
    "@/proc/self/root/tmp/out.txt",
    "@proc/root/tmp/out.txt",
    "@/tmp/out.txt#L1-1",
    "@/tmp/dir",
    "@linked/dir",
    "@file:///tmp/out.txt",
    "(@/tmp/out.txt)",
    "x\n@/tmp/out.txt,",
    "/init @/tmp/out.txt",
    "!subagent read @/tmp/out.txt and @link.txt",
]
SHIMS = "@/opt/casemate/lib/code/shim/options.py @/etc/hostname @/run/agent/agent.json"


async def turns(sandbox, *prompts):
    for n, prompt in enumerate(prompts):
        await sandbox.plane.send(StartTurn(turn_id=TurnId(f"t{n}"), text=prompt))
        assert (await sandbox.plane.end_of(f"t{n}")).outcome == "completed"


def seen(model):
    return json.dumps([request.body for request in model.requests])


async def test_only_the_workspace_is_read_for_a_prompt(sandbox, model):
    """However a path outside is spelled or linked to, nothing of it reaches the model unasked, not
    even for a subagent; nor do the sandbox's own files."""
    await sandbox.run(PREPARE)
    await turns(sandbox, *OUTSIDE, SHIMS)
    sent = seen(model)
    assert "outside-" not in sent
    assert "setting_sources=[]" not in sent
    assert '"permission_mode":' not in sent.replace("\\", "")
    assert "Result of calling the Read tool" not in sent
    assert sandbox.plane.all(said.PermissionRequested) == []


@pytest.mark.parametrize(
    ("mention", "found"),
    [
        ("@in.txt", "inside-d"),
        ("@/workspace/in.txt", "inside-d"),
        ("@fine.txt", "inside-d"),
        ("@in.txt#L2-3", "inside-c"),
        ("@dir", "inside-listed"),
    ],
)
async def test_files_of_the_workspace_are_read_for_a_prompt(sandbox, model, mention, found):
    """What a person names in the workspace is there for Claude at once."""
    await sandbox.run(PREPARE)
    await turns(sandbox, f"look at {mention} please")
    assert found in seen(model)


async def test_where_tools_are_judged_nothing_is_read_beside_them(start_sandbox, model):
    """A file that a rule keeps from Read is not read for a prompt or a subagent's either."""
    rules = [ToolRule(tool="Read", pattern=r"in\.txt", reason="Not that one.")]
    async with start_sandbox(forbidden=rules) as sandbox:
        await sandbox.plane.connected()
        await sandbox.run(PREPARE)
        await turns(sandbox, "look at @in.txt", "!subagent look at @in.txt", "look at @fine.txt")
        assert "inside-" not in seen(model)
