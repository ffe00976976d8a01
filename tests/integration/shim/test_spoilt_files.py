"""Files that an agent, an upload or an earlier sandbox left, met by an agent that starts anew."""

import json
import shlex
from pathlib import Path
from typing import Any

SPOIL = Path(__file__).parents[2] / "attacks" / "probes" / "spoil.sh"
SECOND_AGENT = Path(__file__).parent / "second_agent.py"
PROMPTS = (
    *("hello", "/spoilt", "/usage", "!bash touch /workspace/unasked", "hello again"),
    *("!subagent !bash touch /workspace/unasked-too", "/output-style spoilt"),
)


async def script(sandbox: Any, interpreter: str, path: Path, *arguments: str) -> str:
    text = shlex.quote(path.read_text())
    words = shlex.join(arguments)
    code, output = await sandbox.run(f"cd /workspace && printf %s {text} | {interpreter} {words}")
    assert code == 0, output
    return output


async def test_no_file_changes_what_is_asked(sandbox, model):
    """Settings, hooks, servers, memories, agents, commands, skills, styles and plugins in the
    workspace and the home directory: none runs, none reaches the model, all is asked as before."""
    await script(sandbox, "/bin/sh", SPOIL)
    before = len(model.requests)
    said = await script(sandbox, "/opt/casemate/bin/python3 -I -", SECOND_AGENT, *PROMPTS)
    assert "asked Bash touch /workspace/unasked\n" in f"{said}\n"
    assert "asked Bash touch /workspace/unasked-too" in said
    assert "'permissionMode': 'default'" in said
    assert "'mcp_servers': []" in said
    assert "spoilt" not in said.lower()
    assert (await sandbox.run("ls /tmp | grep took; ls /workspace | grep unasked"))[1] == ""
    requests = list(model.requests)[before:]
    assert requests
    assert {r.body["model"] for r in requests if r.body and "model" in r.body} <= {
        "claude-sonnet-4-5",
        "claude-haiku-4-5-20251001",
    }
    prompts = json.dumps([r.body for r in requests]).replace("/spoilt", "").replace(" spoilt", "")
    assert "SPOILT" not in prompts
