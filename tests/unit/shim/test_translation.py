import dataclasses
from typing import Any

import claude_agent_sdk as sdk
import pytest
from claude_agent_sdk._internal.message_parser import parse_message
from hypothesis import given, settings
from hypothesis import strategies as st
from shim.fitting import fit
from shim.translation import Translator
from shim.turn_results import turn_ended

from orchestrator.protocol import event_parts, sandbox_events
from orchestrator.protocol.ids import TurnId
from orchestrator.protocol.link import MAX_EVENT_BYTES
from orchestrator.protocol.wire import Unrecognised

MESSAGES = (
    sdk.AssistantMessage,
    sdk.ConversationResetMessage,
    sdk.HookEventMessage,
    sdk.MirrorErrorMessage,
    sdk.RateLimitEvent,
    sdk.StreamEvent,
    sdk.SystemMessage,
    sdk.TaskNotificationMessage,
    sdk.TaskProgressMessage,
    sdk.TaskStartedMessage,
    sdk.TaskUpdatedMessage,
    sdk.UserMessage,
    sdk.ResultMessage,
)
BLOCKS = (
    sdk.TextBlock,
    sdk.ThinkingBlock,
    sdk.ToolUseBlock,
    sdk.ToolResultBlock,
    sdk.ServerToolUseBlock,
    sdk.ServerToolResultBlock,
)

texts = st.text(st.characters(), max_size=8)  # with lone surrogates, as JavaScript cuts strings
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
KNOWN_WORDS = """init status compact_boundary text thinking tool_use message_start
content_block_start content_block_delta text_delta input_json_delta
TodoWrite TaskCreate TaskUpdate"""
known_words = st.sampled_from(KNOWN_WORDS.split())
stream_events = st.fixed_dictionaries(
    {"type": known_words},
    optional={
        "index": json_values,
        "delta": st.fixed_dictionaries({"type": known_words, "text": json_values}) | json_values,
        "message": st.fixed_dictionaries({"id": json_values}) | json_values,
        "content_block": st.fixed_dictionaries({"type": known_words, "id": json_values}),
    },
)


def instance_of(kind: type, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The dataclass with anything at all in its fields, as the SDK itself allows."""
    names = [field.name for field in dataclasses.fields(kind)]
    return st.fixed_dictionaries(dict.fromkeys(names, values)).map(lambda f: kind(**f))


blocks = st.one_of(*(instance_of(kind, json_values | known_words) for kind in BLOCKS))
contents = st.lists(blocks | json_values, max_size=3) | json_values
messages = st.one_of(
    *(instance_of(kind, json_values | known_words | contents | stream_events) for kind in MESSAGES)
)


def stream(event: dict[str, Any], parent: str | None = None) -> sdk.StreamEvent:
    return sdk.StreamEvent(uuid="u", session_id="s", event=event, parent_tool_use_id=parent)


def assistant(*content: Any, message_id: str = "m1", **fields: Any) -> sdk.AssistantMessage:
    return sdk.AssistantMessage(
        content=list(content), model="claude-x", message_id=message_id, **fields
    )


def translate(*sent: Any) -> list[Any]:
    translator = Translator()
    return [event for message in sent for event in translator.translate(message)]


def message_start(message_id: str) -> sdk.StreamEvent:
    return stream({"type": "message_start", "message": {"id": message_id}})


def block_start(index: int, **block: Any) -> sdk.StreamEvent:
    return stream({"type": "content_block_start", "index": index, "content_block": block})


def delta(index: int, **fields: Any) -> sdk.StreamEvent:
    return stream({"type": "content_block_delta", "index": index, "delta": fields})


@given(st.lists(messages | json_values, max_size=4))
@settings(max_examples=200, deadline=None)
def test_translation_is_total(sent: list[Any]):
    """Whatever the CLI sends, there is no exception, and every event arrives as what it is."""
    for event in translate(*sent):
        received = sandbox_events.sandbox_word_codec.decode(fit(event))
        assert type(received) is type(event)
        assert not isinstance(received, Unrecognised)


@given(instance_of(sdk.ResultMessage, json_values | known_words), st.booleans())
@settings(max_examples=100, deadline=None)
def test_every_result_ends_its_turn(result: sdk.ResultMessage, stopped: bool):
    """Whatever is in a result, it becomes a TurnEnded that arrives."""
    ended = turn_ended(result, turn_id=TurnId("t"), stopped=stopped)
    assert isinstance(
        sandbox_events.sandbox_word_codec.decode(fit(ended)), sandbox_events.TurnEnded
    )


def test_every_message_type_of_the_sdk_is_tested_here():
    """A message type that a new SDK brings is noticed."""
    assert set(sdk.Message.__args__) <= set(MESSAGES)
    assert set(sdk.ContentBlock.__args__) == set(BLOCKS)


def test_pieces_and_finished_block_agree():
    """A block's deltas and its final event have the same message id and index."""
    said = translate(
        message_start("m1"),
        block_start(0, type="thinking", thinking=""),
        delta(0, type="thinking_delta", thinking="hm"),
        assistant(sdk.ThinkingBlock(thinking="hm", signature="s")),
        stream({"type": "content_block_stop", "index": 0}),
        block_start(1, type="text", text=""),
        delta(1, type="text_delta", text="a"),
        assistant(sdk.TextBlock(text="a")),
        block_start(2, type="tool_use", id="t1", name="Bash", input={}),
        delta(2, type="input_json_delta", partial_json='{"a":'),
        delta(2, type="input_json_delta", partial_json="1}"),
        assistant(sdk.ToolUseBlock(id="t1", name="Bash", input={"a": 1})),
    )
    finished = [event for event in said if not isinstance(event, sandbox_events.BlockDelta)]
    assert [(type(event).__name__, event.message_id, event.index) for event in finished] == [
        ("ThoughtWritten", "m1", 0),
        ("TextWritten", "m1", 1),
        ("ToolStarted", "m1", 2),
    ]
    tool = [
        event for event in said if isinstance(event, sandbox_events.BlockDelta) and event.index == 2
    ]
    assert [(piece.offset, piece.text) for piece in tool] == [(0, ""), (0, '{"a":'), (5, "1}")]
    assert {(piece.tool_use_id, piece.tool_name) for piece in tool} == {("t1", "Bash")}


def test_offsets_count_code_points():
    """A delta's offset is in code points, however many bytes or UTF-16 units came before."""
    said = translate(
        message_start("m1"),
        block_start(0, type="text", text=""),
        delta(0, type="text_delta", text="é😀"),
        delta(0, type="text_delta", text="x"),
    )
    assert [piece.offset for piece in said] == [0, 0, 2]


def test_blocks_that_the_cli_leaves_out_do_not_shift_the_others():
    """A streamed block that never arrives whole leaves the following indexes as they are."""
    said = translate(
        message_start("m1"),
        block_start(0, type="thinking", thinking=""),
        block_start(1, type="text", text=""),
        assistant(sdk.TextBlock(text="a")),
    )
    assert said[-1].index == 1


def test_blocks_without_deltas_are_counted():
    """A subagent's blocks come without deltas and are numbered in their order."""
    said = translate(
        assistant(sdk.TextBlock(text="a"), parent_tool_use_id="t1"),
        assistant(sdk.ToolUseBlock(id="x", name="Bash", input={}), parent_tool_use_id="t1"),
    )
    assert [(event.index, event.parent) for event in said] == [(0, "t1"), (1, "t1")]


def test_streams_of_subagents_do_not_mix():
    """Two messages streamed at once keep their own ids and offsets."""
    translator = Translator()
    for parent, message_id in ((None, "m1"), ("t1", "m2")):
        start = {"type": "message_start", "message": {"id": message_id}}
        translator.translate(stream(start, parent))
    piece = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": "ab"},
    }
    said = [translator.translate(stream(piece, parent))[0] for parent in (None, "t1", None)]
    assert [(p.message_id, p.offset) for p in said] == [("m1", 0), ("m2", 0), ("m1", 2)]


def test_a_failed_answer_is_a_failure_and_no_text():
    """What the CLI writes about a failed request is told as the failure that it is."""
    said = translate(assistant(sdk.TextBlock(text="API Error: 529"), error="server_error"))
    assert said == [sandbox_events.AgentFailed(error="server_error", text="API Error: 529")]


def test_tool_results_keep_their_parts_and_their_structure():
    """Text, images and unknown parts of a result arrive, with the CLI's structured form."""
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aa"}}
    block = sdk.ToolResultBlock(
        tool_use_id="t1", content=[{"type": "text", "text": "x"}, image, {"type": "new"}]
    )
    said = translate(sdk.UserMessage(content=[block], tool_use_result={"stdout": "x"}))
    assert said == [
        sandbox_events.ToolFinished(
            tool_use_id="t1",
            content=[
                event_parts.ContentPart(kind="text", text="x"),
                event_parts.ContentPart(kind="image", media_type="image/png", data="aa"),
                event_parts.ContentPart(kind="other", other={"type": "new"}),
            ],
            detail={"stdout": "x"},
        )
    ]


def test_server_tools_are_marked():
    """A tool that the model API runs by itself is told apart from one that runs here."""
    said = translate(
        assistant(
            sdk.ServerToolUseBlock(id="s1", name="web_search", input={"q": 1}),
            sdk.ServerToolResultBlock(tool_use_id="s1", content={"type": "result"}),
        )
    )
    assert said[0].server
    assert (said[1].tool_use_id, said[1].content[0].other) == ("s1", {"type": "result"})


def test_readiness_is_news_once():
    """The CLI's inventory, repeated before every turn, is told when it is another one."""
    first, other = (
        sdk.SystemMessage(subtype="init", data={"session_id": s, "tools": ["Bash"], "model": "m"})
        for s in "ab"
    )
    said = translate(first, first, other)
    assert [event.agent_session_id for event in said] == ["a", "b"]


SYSTEM = [
    (
        {"subtype": "status", "status": "compacting"},
        sandbox_events.StatusReported(status="compacting"),
    ),
    (
        {"subtype": "compact_boundary", "compact_metadata": {"trigger": "auto", "pre_tokens": 9}},
        sandbox_events.ContextCompacted(trigger="auto", tokens_before=9),
    ),
    (
        {"subtype": "api_retry", "attempt": 1, "uuid": "u", "session_id": "s"},
        sandbox_events.SystemNoted(subtype="api_retry", data={"attempt": 1}),
    ),
    ({"subtype": "thinking_tokens", "estimated_tokens": 2}, None),
    (
        {"subtype": "task_started", "task_id": "1", "description": "d", "uuid": "",
         "session_id": ""},
        sandbox_events.TaskStarted(task_id="1", description="d"),
    ),
    (
        {"subtype": "task_progress", "task_id": "1", "description": "d", "uuid": "",
         "session_id": "", "usage": {"total_tokens": 5}, "last_tool_name": "Bash"},
        sandbox_events.TaskProgressed(
            task_id="1", description="d", total_tokens=5, last_tool="Bash"
        ),
    ),
    (
        {"subtype": "task_updated", "task_id": "1", "patch": {"status": "killed"}},
        sandbox_events.TaskUpdated(task_id="1", status="killed", patch={"status": "killed"}),
    ),
    (
        {"subtype": "task_notification", "task_id": "1", "status": "completed", "summary": "s",
         "output_file": "", "uuid": "", "session_id": ""},
        sandbox_events.TaskFinished(task_id="1", status="completed", summary="s"),
    ),
    (
        {"subtype": "hook_started", "hook_event": "Stop", "hook_id": "h"},
        sandbox_events.HookRan(
            hook="Stop", phase="started", detail={"hook_event": "Stop", "hook_id": "h"}
        ),
    ),
    ({"subtype": "mirror_error", "error": "e"}, sandbox_events.MirrorFailed(error="e")),
]  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), SYSTEM, ids=lambda value: str(value)[:40])
def test_system_messages(data: dict[str, Any], expected: Any):
    """Each system message of the CLI becomes its event, and one without news becomes none."""
    said = translate(parse_message({"type": "system", **data}))
    assert said == ([] if expected is None else [expected])


def test_a_changed_permission_mode_stays_known():
    """A mode that changed by a granted rule is told as a change, once."""
    status = sdk.SystemMessage(subtype="status", data={"permissionMode": "acceptEdits"})
    said = translate(status, status)
    changes = [event for event in said if isinstance(event, sandbox_events.PermissionModeChanged)]
    assert changes == [sandbox_events.PermissionModeChanged(mode="acceptEdits")]


def test_rate_limits_and_resets():
    """The account's rate limit and a forgotten conversation are events of their own."""
    limited = parse_message(
        {"type": "rate_limit_event", "uuid": "u", "session_id": "s",
         "rate_limit_info": {"status": "rejected", "resetsAt": 5, "utilization": 1}}
    )  # fmt: skip
    reset = sdk.ConversationResetMessage(new_conversation_id="n", uuid="u", session_id="s")
    assert translate(limited, reset) == [
        sandbox_events.RateLimited(status="rejected", resets_at=5, utilization=1.0),
        sandbox_events.ConversationReset(agent_session_id="n"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<local-command-stdout>Set model</local-command-stdout>", ("Set model", "command")),
        ("This session is being continued from a previous conversation …", (None, "summary")),
        ("[Request interrupted by user for tool use]", None),
        ("do it", ("do it", "")),
    ],
)
def test_notes(text: str, expected: tuple[str | None, str] | None):
    """What the CLI says in the user's place is shown without its wrapping, and an interrupt not."""
    said = translate(sdk.UserMessage(content=text))
    if expected is None:
        assert said == []
    else:
        assert (said[0].text, said[0].origin) == (expected[0] or text, expected[1])


def finished(tool_use_id: str, detail: Any) -> sdk.UserMessage:
    block = sdk.ToolResultBlock(tool_use_id=tool_use_id, content="ok")
    return sdk.UserMessage(content=[block], tool_use_result=detail)


def used(tool_use_id: str, name: str, **tool_input: Any) -> sdk.AssistantMessage:
    return assistant(sdk.ToolUseBlock(id=tool_use_id, name=name, input=tool_input))


def test_the_todo_list_follows_the_task_tools():
    """Created, updated, listed and deleted tasks leave the list as the CLI has it."""
    said = translate(
        used("1", "TaskCreate", subject="A", activeForm="Doing A"),
        finished("1", {"task": {"id": "1", "subject": "A"}}),
        used("2", "TaskCreate", subject="B"),
        finished("2", {"task": {"id": "2", "subject": "B"}}),
        used("3", "TaskUpdate", taskId="1", status="in_progress"),
        finished("3", {"success": True, "taskId": "1"}),
        used("4", "TaskUpdate", taskId="2", status="deleted"),
        finished("4", {"success": True, "taskId": "2"}),
        used("5", "TaskList"),
        finished("5", {"tasks": [{"id": "1", "subject": "A", "status": "completed"}]}),
    )
    lists = [event.todos for event in said if isinstance(event, sandbox_events.TodosChanged)]
    assert [[(t.content, t.status) for t in todos] for todos in lists] == [
        [("A", "pending")],
        [("A", "pending"), ("B", "pending")],
        [("A", "in_progress"), ("B", "pending")],
        [("A", "in_progress")],
        [("A", "completed")],
    ]
    assert lists[-1][0].active_form == "Doing A"


def test_the_todo_list_follows_todo_write():
    """The older tool replaces the list; a subagent's own list is not the session's."""
    todo = {"content": "A", "status": "in_progress", "activeForm": "Doing A"}
    said = translate(
        used("1", "TodoWrite", todos=[todo]),
        assistant(
            sdk.ToolUseBlock(id="2", name="TodoWrite", input={"todos": []}),
            parent_tool_use_id="t",
        ),
    )
    lists = [event.todos for event in said if isinstance(event, sandbox_events.TodosChanged)]
    assert lists == [[event_parts.Todo(content="A", status="in_progress", active_form="Doing A")]]


def result(**fields: Any) -> sdk.ResultMessage:
    given = {"subtype": "success", "duration_ms": 5, "duration_api_ms": 3, "is_error": False,
             "num_turns": 1, "session_id": "s"}  # fmt: skip
    return sdk.ResultMessage(**{**given, **fields})


@pytest.mark.parametrize(
    ("fields", "stopped", "outcome"),
    [
        ({}, False, "completed"),
        ({}, True, "completed"),
        ({"is_error": True}, False, "failed"),
        ({"subtype": "error_max_turns"}, False, "failed"),
        ({"subtype": "error_during_execution", "is_error": True}, True, "interrupted"),
        ({"is_error": True, "terminal_reason": "aborted_tools"}, False, "interrupted"),
    ],
)
def test_outcomes(fields: dict[str, Any], stopped: bool, outcome: str):
    """A turn completed, failed or was interrupted, as its result and the person's wish say."""
    assert turn_ended(result(**fields), turn_id=TurnId("t"), stopped=stopped).outcome == outcome


def test_the_clis_note_to_its_makers_is_no_error():
    """A person sees only the errors that are meant for them."""
    ended = turn_ended(
        result(errors=["[ede_diagnostic] x", "Budget"]), turn_id=TurnId("t"), stopped=False
    )
    assert ended.errors == ["Budget"]


def test_large_results_are_cut_and_say_so():
    """An event over the limit is cut to fit, and tells how much is missing."""
    block = sdk.ToolResultBlock(tool_use_id="t", content="x" * (3 * MAX_EVENT_BYTES))
    [event] = translate(sdk.UserMessage(content=[block], tool_use_result={"stdout": "x" * 10}))
    body = fit(event)
    assert len(body) <= MAX_EVENT_BYTES
    received = sandbox_events.sandbox_word_codec.decode(body)
    assert isinstance(received, sandbox_events.ToolFinished)
    assert received.omitted + len(received.content[0].text) == 3 * MAX_EVENT_BYTES


@pytest.mark.parametrize(
    "event",
    [
        sandbox_events.TextWritten(message_id="m", index=0, text="é" * MAX_EVENT_BYTES),
        sandbox_events.ToolStarted(tool_use_id="t", message_id="m", index=0, name="Write",
                           input={"content": "y" * 2 * MAX_EVENT_BYTES}),
        sandbox_events.SystemNoted(subtype="x", data={str(i): "z" * 9000 for i in range(500)}),
        sandbox_events.ToolFinished(tool_use_id="t", content=[
            event_parts.ContentPart(kind="image", media_type="image/png", data="A" * 2_000_000)]),
        sandbox_events.TodosChanged(todos=[event_parts.Todo(content="c" * 5000)] * 500),
    ],
    ids=lambda event: type(event).__name__,
)  # fmt: skip
def test_whatever_is_too_large_is_cut(event: Any):
    """No event is longer than the link allows, and a cut one is still the event that it was."""
    body = fit(event)
    assert len(body) <= MAX_EVENT_BYTES
    assert type(sandbox_events.sandbox_word_codec.decode(body)) is type(event)


def test_todos_of_a_resumed_conversation():
    """The list is what the transcript makes of it, also where that is none, and goes on from
    there: an entry that is changed next is the one that it was."""
    create = {"type": "tool_use", "id": "1", "name": "TaskCreate", "input": {"subject": "x"}}
    made = {"type": "tool_result", "tool_use_id": "1"}
    entries = [
        {"type": "assistant", "message": {"content": [create]}},
        {"type": "user", "message": {"content": [made]}, "toolUseResult": {"task": {"id": "7"}}},
        {"type": "user", "message": {"content": "hi"}},
        {},
    ]
    translator = Translator()
    [told] = translator.resumed(entries)
    assert [(todo.id, todo.content) for todo in told.todos] == [("7", "x")]
    assert [event.todos for event in translator.resumed([])] == [[]]
