import asyncio
import json
from typing import Any

import claude_agent_sdk as sdk
import pytest
from claude_agent_sdk.types import PermissionRuleValue
from shim.permission_requests import MAX_INPUT_BYTES
from shim.permissions import (
    MAX_WAITING,
    MAX_WAITING_BYTES,
    TOO_LARGE,
    TOO_MANY,
    AnswerUnexpected,
    InputChanged,
    Permissions,
)

from orchestrator.protocol.commands import (
    AnswerPermission,
    AnswerQuestion,
    PendingTool,
    PermissionDecision,
)
from orchestrator.protocol.ids import PermissionId, QuestionId, TurnId
from orchestrator.protocol.input_hash import input_hash
from orchestrator.protocol.sandbox_events import (
    PermissionRequested,
    PermissionWithdrawn,
    QuestionAsked,
    QuestionWithdrawn,
    sandbox_word_codec,
)

QUESTION = {"questions": [{"question": "Which?", "options": [{"label": "A"}], "multiSelect": True}]}


class Desk:
    """Permissions with somebody at the desk."""

    def __init__(self, **options: Any) -> None:
        self.said: list[Any] = []
        self.news = asyncio.Event()
        self.permissions = Permissions(self.say, **options)

    def say(self, event: Any) -> None:
        self.said.append(event)
        self.news.set()

    async def ask(
        self, tool: str, tool_input: dict[str, Any], **context: Any
    ) -> asyncio.Task[sdk.PermissionResult]:
        self.news.clear()
        call = self.permissions.can_use_tool(tool, tool_input, sdk.ToolPermissionContext(**context))
        task = asyncio.create_task(call)
        await asyncio.wait_for(self.news.wait(), 5)
        return task

    async def ask_and_answer(self, offered: Any = (), **decision: Any) -> Any:
        task = await self.ask("Bash", {"command": "ls"}, suggestions=list(offered))
        self.permissions.answer_permission(
            AnswerPermission(
                permission_id=self.said[-1].permission_id,
                decision=PermissionDecision(**{"input_hash": self.said[-1].input_hash} | decision),
            )
        )
        return await task


SUGGESTIONS = [
    sdk.PermissionUpdate(
        type="addRules",
        rules=[PermissionRuleValue(tool_name="Bash", rule_content="ls:*")],
        behavior="allow",
        destination="projectSettings",
    ),
    sdk.PermissionUpdate(type="setMode", mode="acceptEdits", destination="session"),
    sdk.PermissionUpdate(type="setMode", mode="bypassPermissions", destination="session"),
]


async def test_a_request_shows_everything_that_the_cli_told():
    """A person sees title, reason, path, agent and suggestions of what shall run."""
    desk = Desk()
    task = await desk.ask(
        "Bash", {"command": "ls"}, suggestions=SUGGESTIONS, tool_use_id="t", agent_id="a",
        blocked_path="/etc", decision_reason="r", title="T", display_name="D", description="d",
    )  # fmt: skip
    request = desk.said[0]
    assert isinstance(request, PermissionRequested)
    assert (request.tool_name, request.input, request.tool_use_id) == (
        "Bash",
        {"command": "ls"},
        "t",
    )
    assert (request.title, request.display_name, request.description) == ("T", "D", "d")
    assert (request.reason, request.blocked_path, request.agent) == ("r", "/etc", "a")
    assert request.suggestions[0].rules[0].content == "ls:*"
    desk.permissions.withdraw_all()
    await task


async def test_allow():
    """Allowed means: exactly the input that was shown, and no rule changed."""
    answer = await Desk().ask_and_answer(SUGGESTIONS, choice="allow")
    assert answer == sdk.PermissionResultAllow(updated_input={"command": "ls"})


async def test_an_answer_to_another_input_denies():
    """What was not shown is not approved: such an answer lets nothing run."""
    desk = Desk()
    task = await desk.ask("Bash", {"command": "rm -rf /"})
    harmless = input_hash("Bash", {"command": "ls"})
    decision = PermissionDecision(choice="allow", input_hash=harmless)
    answer = AnswerPermission(permission_id=desk.said[0].permission_id, decision=decision)
    with pytest.raises(InputChanged):
        desk.permissions.answer_permission(answer)
    assert isinstance(await task, sdk.PermissionResultDeny)


@pytest.mark.parametrize(
    "odd", [float("nan"), float("inf"), 2**70, -0.0, 1e400, "\u202e\x1b\u200b", {"": [None, True]}]
)
async def test_what_was_shown_is_what_runs(odd):
    """The CLI gets back what a reader of the event's JSON has, to the last character."""
    desk = Desk()
    task = await desk.ask("Write", {"file_path": "/workspace/x", "content": odd})
    event = sandbox_word_codec.decode(sandbox_word_codec.encode(desk.said[0]))
    assert event.input_hash == input_hash(event.tool_name, event.input)
    decision = PermissionDecision(choice="allow", input_hash=event.input_hash)
    desk.permissions.answer_permission(
        AnswerPermission(permission_id=event.permission_id, decision=decision)
    )
    assert repr((await task).updated_input) == repr(event.input)


async def test_a_request_that_would_be_cut_is_denied():
    """An input that is shown with more than an event can hold beside it is not shown in parts."""
    rule = PermissionRuleValue(tool_name="Bash", rule_content="x" * (1 << 20))
    offered = sdk.PermissionUpdate(type="addRules", rules=[rule], behavior="allow")
    desk = Desk()
    answer = await desk.permissions.can_use_tool(
        "Bash", {"command": "ls"}, sdk.ToolPermissionContext(suggestions=[offered])
    )
    assert isinstance(answer, sdk.PermissionResultDeny)
    assert desk.said == []


async def test_allow_with_changed_input():
    """A person may change what runs."""
    answer = await Desk().ask_and_answer(choice="allow", updated_input={"command": "pwd"})
    assert answer.updated_input == {"command": "pwd"}


async def test_allow_always_grants_for_this_session_only():
    """Suggested rules are granted in memory, never in the workspace's own settings files."""
    answer = await Desk().ask_and_answer(SUGGESTIONS, choice="allow_always")
    assert [(u.type, u.destination) for u in answer.updated_permissions] == [
        ("addRules", "session"),
        ("setMode", "session"),
    ]


async def test_allow_always_picks_by_position():
    """Only chosen suggestions are granted; positions that do not exist are ignored."""
    answer = await Desk().ask_and_answer(
        SUGGESTIONS, choice="allow_always", suggestions=[1, 7, -1, 1]
    )
    assert [update.mode for update in answer.updated_permissions] == ["acceptEdits"]


async def test_asking_for_everything_is_never_granted():
    """The mode that skips all questions cannot be granted with a request."""
    answer = await Desk().ask_and_answer(SUGGESTIONS, choice="allow_always", suggestions=[2])
    assert answer.updated_permissions == []


async def test_deny_tells_the_reason_and_stop_stops():
    """Claude is told why; deny-and-stop ends the turn as well."""
    denied = await Desk().ask_and_answer(choice="deny", reason="not today")
    assert denied == sdk.PermissionResultDeny(message="not today")
    stopped = await Desk().ask_and_answer(choice="deny_and_stop")
    assert stopped.interrupt


async def test_questions_are_answered_into_the_tools_input():
    """The answers travel as the tool's own input."""
    desk = Desk()
    task = await desk.ask("AskUserQuestion", QUESTION, tool_use_id="t")
    asked = desk.said[0]
    assert isinstance(asked, QuestionAsked)
    assert asked.questions[0].multi_select
    desk.permissions.answer_question(
        AnswerQuestion(question_id=asked.question_id, answers={"Which?": "A"})
    )
    assert (await task).updated_input == {**QUESTION, "answers": {"Which?": "A"}}


async def test_a_question_without_questions_is_a_permission():
    """What no person could answer is shown as the tool call that it is."""
    desk = Desk()
    task = await desk.ask("AskUserQuestion", {"questions": "?"})
    assert isinstance(desk.said[0], PermissionRequested)
    desk.permissions.withdraw_all()
    await task


async def test_what_the_cli_gives_up_is_withdrawn():
    """A cancelled request is withdrawn, and a late answer to it refused."""
    desk = Desk()
    task = await desk.ask("Bash", {})
    task.cancel()
    await asyncio.wait({task})
    withdrawn = PermissionWithdrawn(permission_id=desk.said[0].permission_id)
    assert desk.said[1] == withdrawn
    with pytest.raises(AnswerUnexpected):
        desk.permissions.answer_permission(
            AnswerPermission(
                permission_id=withdrawn.permission_id,
                decision=PermissionDecision(choice="allow", input_hash=desk.said[0].input_hash),
            )
        )


async def test_stopping_withdraws_everything():
    """After a stop nothing waits any more, and nothing was allowed."""
    desk = Desk()
    permission = await desk.ask("Bash", {})
    question = await desk.ask("AskUserQuestion", QUESTION)
    desk.permissions.withdraw_all()
    answers = [await permission, await question]
    assert all(isinstance(a, sdk.PermissionResultDeny) and a.interrupt for a in answers)
    assert {type(event) for event in desk.said[2:]} == {PermissionWithdrawn, QuestionWithdrawn}


async def test_the_first_answer_counts():
    """A second answer to the same request is refused."""
    desk = Desk()
    task = await desk.ask("Bash", {})
    answer = AnswerPermission(
        permission_id=desk.said[0].permission_id,
        decision=PermissionDecision(choice="allow", input_hash=desk.said[0].input_hash),
    )
    desk.permissions.answer_permission(answer)
    with pytest.raises(AnswerUnexpected):
        desk.permissions.answer_permission(answer)
    assert isinstance(await task, sdk.PermissionResultAllow)


@pytest.mark.parametrize(
    ("tool", "tool_input"),
    [
        ("Write", {"list": [[]] * 10_001}),
        ("Write", json.loads('{"a":' * 70 + "{}" + "}" * 70)),
        ("T" * 400, {}),
        ("AskUserQuestion", {"questions": [{"question": "?", "options": ["a"] * 101}] * 100}),
    ],
)
async def test_what_would_be_cut_on_its_way_is_denied(tool: str, tool_input: dict[str, Any]):
    """The control plane gives up a sandbox whose request names another input than it shows."""
    permissions = Permissions(lambda _: None)
    context = sdk.ToolPermissionContext()
    async with asyncio.timeout(5):
        answer = await permissions.can_use_tool(tool, tool_input, context)
    assert answer == sdk.PermissionResultDeny(message=TOO_LARGE)


async def test_what_waits_is_bounded_in_bytes():
    """Beyond what the control plane takes of one sandbox, a request is denied at once; its place
    is free again once the others are done."""
    desk = Desk()
    large = {"content": "x" * (MAX_INPUT_BYTES - 100)}
    most = MAX_WAITING_BYTES // MAX_INPUT_BYTES
    waiting = [await desk.ask("Write", large) for _ in range(most - 1)]
    context = sdk.ToolPermissionContext()
    over = [
        asyncio.create_task(desk.permissions.can_use_tool("Write", large, context))
        for _ in range(2)
    ]
    assert await over[1] == sdk.PermissionResultDeny(message=TOO_MANY)
    desk.permissions.withdraw_all()
    await asyncio.gather(*waiting, over[0])
    await desk.ask_and_answer(choice="allow")


async def test_a_person_is_never_flooded():
    """Beyond a bound, requests are denied without asking."""
    desk = Desk()
    tasks = [await desk.ask("Bash", {}) for _ in range(MAX_WAITING)]
    extra = await desk.permissions.can_use_tool("Bash", {}, sdk.ToolPermissionContext())
    assert isinstance(extra, sdk.PermissionResultDeny)
    desk.permissions.withdraw_all()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("content", ["x" * MAX_INPUT_BYTES, "half \ud83d"])
async def test_what_cannot_be_shown_whole_is_denied(content: str):
    """A person never approves an input of which they saw only a part."""
    desk = Desk()
    answer = await desk.permissions.can_use_tool(
        "Write", {"content": content}, sdk.ToolPermissionContext()
    )
    assert isinstance(answer, sdk.PermissionResultDeny)
    assert desk.said == []


async def test_tools_that_the_profile_allows_are_not_asked_for():
    """A tool that the profile allows runs at once, another one is asked for."""
    desk = Desk(allowed_tools=["WebSearch"])
    answer = await desk.permissions.can_use_tool("WebSearch", {}, sdk.ToolPermissionContext())
    assert isinstance(answer, sdk.PermissionResultAllow)
    assert desk.said == []
    task = await desk.ask("WebFetch", {})
    desk.permissions.withdraw_all()
    await task


def pending(**which: Any) -> PendingTool:
    return PendingTool(turn_id=TurnId("t"), tool_use_id="tool", **which)


async def test_what_was_asked_before_is_asked_again():
    """A resumed CLI's question goes by the name that it had, even where the profile would allow
    it, and its policies judge what a person allows."""
    judged: list[Any] = []

    async def forbids(tool_name: str, tool_input: dict[str, Any], **_also: Any) -> None:
        judged.append(tool_input)

    desk = Desk(allowed_tools=["Bash"], forbids=forbids)
    shown = input_hash("Bash", {"command": "ls"})
    expected = desk.permissions.expect(
        pending(permission_id=PermissionId("before"), input_hash=shown)
    )
    task = await desk.ask("Bash", {"command": "ls"}, tool_use_id="tool")
    assert await expected.was_asked(seconds=1)
    assert desk.said[0].permission_id == "before"
    decision = PermissionDecision(choice="allow", input_hash=shown)
    desk.permissions.answer_permission(
        AnswerPermission(permission_id=PermissionId("before"), decision=decision)
    )
    assert (await task).updated_input == {"command": "ls"}
    assert judged == [{"command": "ls"}]


@pytest.mark.parametrize(
    ("tool", "tool_input", "which"),
    [
        ("Bash", {"command": "rm"}, {"permission_id": "p", "input_hash": "0" * 64}),
        ("Bash", {"command": "ls"}, {"question_id": "q"}),
        ("AskUserQuestion", QUESTION, {"permission_id": "p", "input_hash": "0" * 64}),
    ],
)
async def test_another_question_than_before_is_denied(tool, tool_input, which):
    """What comes back otherwise than it was shown is neither asked nor run."""
    desk = Desk()
    expected = desk.permissions.expect(pending(**which))
    context = sdk.ToolPermissionContext(tool_use_id="tool")
    result = await desk.permissions.can_use_tool(tool, tool_input, context)
    assert isinstance(result, sdk.PermissionResultDeny)
    assert result.interrupt
    assert not await expected.was_asked(seconds=1)
    assert desk.said == []


async def test_a_question_of_before_has_its_name():
    """A question of an earlier sandbox is answered under the name that it had there."""
    desk = Desk()
    desk.permissions.expect(pending(question_id=QuestionId("before")))
    task = await desk.ask("AskUserQuestion", QUESTION, tool_use_id="tool")
    answer = AnswerQuestion(question_id=QuestionId("before"), answers={"Which?": "A"})
    desk.permissions.answer_question(answer)
    assert (await task).updated_input["answers"] == {"Which?": "A"}


async def test_a_question_that_never_comes_is_not_awaited_for_ever():
    """A CLI that does not ask again is noticed."""
    expected = Desk().permissions.expect(pending(question_id=QuestionId("before")))
    assert not await expected.was_asked(seconds=0.01)


async def test_open_questions_are_said_again():
    """What is open is said again as it was, what is answered is not."""
    desk = Desk()
    task = await desk.ask("Bash", {"command": "ls"})
    other = await desk.ask("AskUserQuestion", QUESTION)
    request, asked = desk.said
    desk.permissions.say_again()
    assert desk.said[2:] == [request, asked]
    desk.permissions.withdraw_all()
    desk.permissions.say_again()
    assert desk.said[4:] == []
    await asyncio.gather(task, other)


async def test_nothing_is_withdrawn_when_the_sandbox_is_given_up():
    """A question outlives its sandbox: the end of one withdraws nothing."""
    desk = Desk()
    task = await desk.ask("Bash", {"command": "ls"})
    desk.permissions.close()
    desk.permissions.withdraw_all()
    await task
    assert [type(event) for event in desk.said] == [PermissionRequested]


async def test_a_question_waits_for_its_transcript():
    """A person is asked when the transcript holds what it is about, and not at all where the turn
    was stopped before that."""
    held = asyncio.Event()

    async def before_asking(tool_use_id: str | None) -> None:
        assert tool_use_id == "tool"
        await held.wait()

    desk = Desk(before_asking=before_asking)
    context = sdk.ToolPermissionContext(tool_use_id="tool")
    task = asyncio.create_task(desk.permissions.can_use_tool("Bash", {"command": "ls"}, context))
    await asyncio.sleep(0)
    assert desk.said == []
    desk.permissions.withdraw_all()
    held.set()
    assert (await task).interrupt
    assert desk.said == []


async def test_what_asks_again_too_late_does_not_run():
    """Once the turn was told to be lost, its call is denied without asking: it would run in no
    turn, and a second time where the prompt runs again."""
    desk = Desk()
    shown = {"command": "touch x"}
    pending = PendingTool(
        turn_id=TurnId("t"),
        tool_use_id="u",
        permission_id=PermissionId("p"),
        input_hash=input_hash("Bash", shown),
    )
    expected = desk.permissions.expect(pending)
    assert not await expected.was_asked(seconds=0.01)
    context = sdk.ToolPermissionContext(tool_use_id="u")
    async with asyncio.timeout(5):
        answer = await desk.permissions.can_use_tool("Bash", shown, context)
    assert isinstance(answer, sdk.PermissionResultDeny)
    assert desk.said == []
