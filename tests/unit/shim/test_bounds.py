"""What the shim says stays within the bounds of the protocol, whatever the CLI said."""

from shim.bounds import bounded
from shim.fitting import fit

from orchestrator.protocol.event_parts import MAX_COUNT, ContentPart, Rule, Suggestion, Usage
from orchestrator.protocol.intricacy import too_intricate
from orchestrator.protocol.sandbox_events import (
    AgentDied,
    AgentReady,
    ContextMeasured,
    PermissionRequested,
    TextWritten,
    ToolFinished,
    ToolStarted,
    TurnEnded,
    sandbox_word_codec,
)


def test_within_bounds():
    """An event within its bounds is not touched."""
    event = TextWritten(message_id="m", index=0, text="x" * 100_000)
    assert bounded(event) is event


def test_long_names_and_odd_numbers():
    """Names are cut, numbers moved to the nearest that may stand there, nothing else is changed."""
    ready = AgentReady(
        agent_session_id="s",
        model="m" * 9_000,
        cwd="/workspace",
        permission_mode="default",
        tools=["t" * 400] * 3_000,
        mcp_servers={"n" * 400: "v" * 400},
    )
    kept = bounded(ready)
    assert len(kept.model) == 300
    assert {len(tool) for tool in kept.tools} == {300}
    assert len(kept.tools) == 2000
    assert kept.mcp_servers == {"n" * 300: "v" * 300}
    assert bounded(ContextMeasured(used=2**70, window=-5)) == ContextMeasured(
        used=MAX_COUNT, window=0
    )
    assert bounded(AgentDied(exit_code=-9)).exit_code == -9


def test_nested():
    """The bounds of nested values hold too."""
    ended = TurnEnded(turn_id="t", outcome="completed", usage=Usage(input_tokens=-1))
    assert bounded(ended).usage.input_tokens == 0
    asked = PermissionRequested(
        permission_id="p",
        tool_name="Bash",
        input={"command": "x" * 1000},
        suggestions=[Suggestion(kind="addRules", rules=[Rule(tool="T" * 999)])],
    )
    kept = bounded(asked)
    assert len(kept.suggestions[0].rules[0].tool) == 300
    assert kept.input == asked.input


def test_what_is_sent_can_be_read():
    """Whatever is said, the control plane can decode it."""
    event = AgentReady(
        agent_session_id="s" * 999, model="", cwd="/" * 9999, permission_mode="\ud800" * 999
    )
    assert isinstance(sandbox_word_codec.decode(fit(event)), AgentReady)


def test_intricate_values():
    """Values with more parts or levels than an event may have are left out, the rest is said."""
    deep: list = []
    for _ in range(100):
        deep = [deep]
    started = ToolStarted(
        tool_use_id="t", message_id="m", index=0, name="Bash", input={"command": "ls", "x": deep}
    )
    said = sandbox_word_codec.decode(fit(started))
    assert isinstance(said, ToolStarted)
    assert said.name == "Bash"
    assert said.input == {"omitted": "more parts than can be shown"}
    parts = [ContentPart(kind="other", other=[[]] * 20_000), ContentPart(kind="text", text="seen")]
    finished = ToolFinished(tool_use_id="t", content=parts, detail=[{}] * 20_000)
    read = sandbox_word_codec.decode(fit(finished))
    assert isinstance(read, ToolFinished)
    assert read.content[1].text == "seen"
    assert not too_intricate(read)


def test_a_result_of_many_intricate_parts():
    """Parts that are too much only together come as text: a tool always has its end."""
    parts = [ContentPart(kind="other", other=[[]] * 2_400) for _ in range(20)]
    event = ToolFinished(tool_use_id="t", content=parts)
    read = sandbox_word_codec.decode(fit(event))
    assert isinstance(read, ToolFinished)
    assert not too_intricate(read)
