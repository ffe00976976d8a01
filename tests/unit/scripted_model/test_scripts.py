"""Prompts and scripts become the parts of an answer."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.testing.scripted_model.answer import (
    Part,
    Text,
    Thinking,
    ToolUse,
    invent,
    plan_answer,
)
from orchestrator.testing.scripted_model.commands import parse_commands
from orchestrator.testing.scripted_model.message_events import split_words
from orchestrator.testing.scripted_model.reading import read_request
from orchestrator.testing.scripted_model.script import (
    Cut,
    Fail,
    Rule,
    Say,
    Script,
    Use,
    Wait,
    built_in_script,
    load_script,
)

TOOLS = [{"name": name} for name in ("Bash", "Write", "AskUserQuestion", "ToolSearch")]
TOOLS.append({"name": "Agent", "input_schema": {"properties": {"run_in_background": {}}}})
REMINDER = "<system-reminder>\n!bash rm\n</system-reminder>"


def user(*blocks: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": b} if isinstance(b, str) else b for b in blocks]
    return {"role": "user", "content": content}


def used(name: str, tool_id: str = "t1") -> dict[str, Any]:
    block = {"type": "tool_use", "id": tool_id, "name": name, "input": {}}
    return {"role": "assistant", "content": [block]}


def result(text: Any = "fine", *, tool_id: str = "t1", is_error: bool = False) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": tool_id, "content": text}
    return block | {"is_error": is_error}


def answer(*messages: Any, tools: Any = TOOLS, tries: int = 0, **fields: Any) -> list[Part]:
    body = {"messages": list(messages), "tools": tools} | fields
    return plan_answer(built_in_script(), read_request(body), earlier_tries=tries)


def text_of(parts: list[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text))


def test_it_says_what_it_is() -> None:
    """An ordinary prompt gets the plain introduction with all commands."""
    said = text_of(answer(user("What is the weather?")))
    assert said.startswith("This is a scripted model")
    for command in ("!bash", "!write", "!say", "!think", "!ask", "!todo", "!subagent", "!fail"):
        assert command in said


def test_a_command_calls_its_tool_and_then_quotes_the_result() -> None:
    """The first request ends with the tool's use, the next one with its output."""
    [part] = answer(user("!bash echo hi"))
    assert isinstance(part, ToolUse)
    assert (part.name, part.input["command"]) == ("Bash", "echo hi")
    said = text_of(answer(user("!bash echo hi"), used("Bash"), user(result("hi ``` there"))))
    assert said == "Done. The result was:\n\n````\nhi ``` there\n````"


def test_lines_are_consecutive_steps() -> None:
    """Steps without tools share a response; a tool's use ends it; the results count the rounds."""
    prompt = user("!say 2 words\n!think 3\n!bash ls\n!write a b\nc\n!say 1 word")
    first = answer(prompt)
    assert [type(part) for part in first] == [Text, Thinking, ToolUse]
    second = answer(prompt, used("Bash"), user(result()))
    assert isinstance(second[0], ToolUse)
    assert second[0].input == {"file_path": "a", "content": "b\nc"}
    third = answer(
        prompt, used("Bash"), user(result()), used("Write", "t2"), user(result(tool_id="t2"))
    )
    assert text_of(third) == invent(1)


def test_what_the_cli_adds_is_no_prompt() -> None:
    """Reminders before, behind and within the prompt, notices and interruptions change nothing."""
    prompt = user(REMINDER, f"{REMINDER}\n!bash ls", REMINDER)
    [part] = answer(prompt)
    assert isinstance(part, ToolUse)
    for added in (REMINDER, "Tool loaded.", "[Request interrupted by user]"):
        said = text_of(answer(prompt, used("Bash"), user(result("out"), added)))
        assert "out" in said
    system = {"role": "system", "content": "!bash rm"}
    assert "out" in text_of(answer(prompt, used("Bash"), user(result("out")), system))


def test_a_new_prompt_beside_an_old_result_begins_anew() -> None:
    """After an interruption the CLI puts both into one message."""
    messages = [user("!bash ls"), used("Bash"), user(result(is_error=True), "!say 2 words")]
    assert text_of(answer(*messages)) == invent(2)


def test_a_background_notice_is_answered_shortly() -> None:
    """It starts a turn of its own, but nothing in it is a command."""
    notice = user(f"<system-reminder>\n<task-notification>{REMINDER}</task-notification>")
    assert text_of(answer(user("!bash ls"), notice)) == "A background task has ended."


def test_a_failed_or_denied_tool_is_said() -> None:
    """With what was said about it; the steps behind it still run."""
    parts = answer(user("!bash ls\n!say 2 words"), used("Bash"), user(result("No.", is_error=True)))
    assert "`Bash` did not succeed, or was not allowed" in text_of(parts)
    assert "No." in text_of(parts)
    assert text_of(parts).endswith(invent(2))


def test_a_tool_that_is_not_offered_is_said() -> None:
    """Instead of a call that the CLI could only refuse."""
    assert "`Bash` is not offered" in text_of(answer(user("!bash ls"), tools=[]))


def test_a_hidden_tool_is_searched_for_once() -> None:
    """First the search, then the use, without repeating what was said; or a word if not found."""
    prompt = user("!say 2 words\n!todo")
    search = answer(prompt)
    assert isinstance(search[-1], ToolUse)
    assert search[-1].name == "ToolSearch"
    found = [*TOOLS, {"name": "TaskCreate"}]
    reference = [{"type": "tool_reference", "tool_name": "TaskCreate"}]
    messages = [prompt, used("ToolSearch"), user(result(reference))]
    [use] = answer(*messages, tools=found)
    assert isinstance(use, ToolUse)
    assert use.name == "TaskCreate"
    assert "not offered" in text_of(answer(*messages))


def test_todos_use_what_is_there() -> None:
    """TodoWrite in one call; or task after task, then an update by the number of the first."""
    [use] = answer(user("!todo"), tools=[{"name": "TodoWrite"}])
    assert isinstance(use, ToolUse)
    assert [todo["status"] for todo in use.input["todos"]] == ["in_progress", "pending", "pending"]
    messages = [user("!todo")]
    for number in (7, 8, 9):
        tool_id = f"t{number}"
        messages += [used("TaskCreate", tool_id)]
        messages += [user(result(f"Task #{number} created", tool_id=tool_id))]
    [update] = answer(*messages, tools=[{"name": "TaskCreate"}, {"name": "TaskUpdate"}])
    assert isinstance(update, ToolUse)
    assert update.input == {"taskId": "7", "status": "in_progress"}


def test_a_subagent_runs_in_the_foreground() -> None:
    """Where the tool offers that, so that its result belongs to the turn."""
    [use] = answer(user("!subagent !bash ls"))
    assert isinstance(use, ToolUse)
    assert use.input["prompt"] == "!bash ls"
    assert use.input["run_in_background"] is False
    [task] = answer(user("!subagent x"), tools=[{"name": "Task"}])
    assert isinstance(task, ToolUse)
    assert task.name == "Task"


def test_a_failure_lasts_as_long_as_it_was_told_to() -> None:
    """Always, or so many times, one after the other; then what follows."""
    assert answer(user("!fail 529"), tries=99) == [Fail(status=529)]
    prompt = user("!fail 529 2 times\n!cut 1 times\n!say 2 words")
    assert [type(answer(prompt, tries=tries)[0]) for tries in range(4)] == [Fail, Fail, Cut, Text]
    assert text_of(answer(prompt, tries=3)) == invent(2)


def test_a_request_for_json_gets_json() -> None:
    """The CLI asks for titles this way, with the prompt in the text: it is no command there."""
    properties = {"title": {"type": "string"}, "is_new": {"type": "boolean"}}
    schema = {"type": "object", "properties": properties}
    config = {"format": {"type": "json_schema", "schema": schema}}
    said = text_of(answer(user("!bash ls"), output_config=config))
    assert msgspec.json.decode(said) == {"title": "Scripted conversation", "is_new": False}


@pytest.mark.parametrize(
    "line", ["!bash", "!say", "!say many", "!fail", "!fail 200", "!fail x", "!cut now", "!nonsense"]
)
def test_a_command_that_is_not_understood_is_said(line: str) -> None:
    """With the list of those that are."""
    assert "I do not understand" in text_of(answer(user(line)))


def test_commands_are_read_in_all_their_forms() -> None:
    """Counts, rates and seconds."""
    assert parse_commands("!say 5 words at 2.5/s") == (Say(words=5, per_second=2.5),)
    assert parse_commands("!say 1") == (Say(words=1),)
    assert parse_commands("!slow 1.5") == (Wait(seconds=1.5),)
    assert parse_commands("!fail 429 3 times") == (Fail(status=429, times=3),)
    assert parse_commands("hello !bash ls") is None


def test_a_script_is_a_file(tmp_path: Path) -> None:
    """TOML or JSON, the same rules; a mistake names its place."""
    toml = tmp_path / "script.toml"
    toml.write_text(
        'obeys_commands = false\n[[rules]]\nwhen = "deploy"\n'
        'steps = [{do = "use", tool = "Bash", input = {command = "make"}}, {do = "say", words = 3}]'
    )
    script = load_script(toml)
    use = Use(tool="Bash", input={"command": "make"})
    assert script.rules == (Rule(when="deploy", steps=(use, Say(words=3))),)
    as_json = tmp_path / "script.json"
    as_json.write_bytes(msgspec.json.encode(script))
    assert load_script(as_json) == script
    as_json.write_text('{"rules": [{"when": "x", "steps": [{"do": "dance"}]}]}')
    with pytest.raises(msgspec.ValidationError, match=r"rules.*steps"):
        load_script(as_json)


def test_rules_come_before_commands() -> None:
    """In any case of letters; without a fitting rule the commands, unless they are off."""
    script = Script(
        rules=(Rule(when="^!bash DEPLOY", steps=(Say(text="ruled"),)),),
        obeys_commands=False,
        otherwise=(Say(text="else"),),
    )
    for prompt, said in (("!bash deploy now", "ruled"), ("!bash ls", "else")):
        reading = read_request({"messages": [user(prompt)], "tools": TOOLS})
        assert text_of(plan_answer(script, reading)) == said


@given(text=st.text(max_size=80), each=st.integers(1, 5))
def test_pieces_make_up_the_text(text: str, each: int) -> None:
    """Nothing is lost between the words."""
    assert "".join(piece for piece, _ in split_words(text, each)) == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "messages", "tools", "name"]),
            inner,
            max_size=4,
        )
    ),
)


@given(messages=JSON, tools=JSON, config=JSON)
def test_any_request_gets_an_answer(messages: Any, tools: Any, config: Any) -> None:
    """However strange it is."""
    reading = read_request({"messages": messages, "tools": tools, "output_config": config})
    assert plan_answer(built_in_script(), reading)
