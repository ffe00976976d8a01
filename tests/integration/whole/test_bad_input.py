"""Bad input: a clear error each, the connection lives, nothing is lost."""

import pytest

from orchestrator.protocol.chat import (
    DecidePermission,
    End,
    GiveAnswer,
    Prompt,
    RemovePrompt,
    Stop,
)
from orchestrator.protocol.commands import PermissionDecision
from orchestrator.protocol.control_events import PermissionResolved, UpstreamFailed
from orchestrator.protocol.ids import ClientId, PermissionId, QuestionId
from orchestrator.protocol.sandbox_events import PermissionRequested, TurnEnded
from orchestrator.sandboxes.image_builder import BuiltImage
from orchestrator.testing.chat_client import ApiClient, decision_on
from orchestrator.testing.running_casemate import free_port, running_casemate
from orchestrator.testing.scripted_model import ScriptedModel

from .conftest import PASSWORD, environment


@pytest.mark.parametrize(
    "frame",
    [
        "{",
        "[]",
        "null",
        '{"type":5}',
        '{"type":"prompt"}',
        '{"type":"prompt","client_id":"","text":"x"}',
        '{"type":"prompt","client_id":"x","text":""}',
        '{"type":"no_such_command"}',
        '"\\ud800"',
    ],
)
async def test_a_malformed_frame_is_refused_and_the_chat_goes_on(
    ada: ApiClient, session: str, frame: str
) -> None:
    """The refusal says what is wrong; the next prompt is answered."""
    async with ada.chat(session) as chat:
        await chat.send_text(frame)
        refusal = await chat.until(lambda c: c.refusals and c.refusals[-1])
        assert refusal.problem.tag
        assert refusal.problem.title
        assert (await chat.turn("hello")).outcome == "completed"


async def test_a_prompt_of_two_mebibytes_is_refused(ada: ApiClient, session: str) -> None:
    """On the socket with an error frame, over HTTP with 413; both say what to do."""
    async with ada.chat(session) as chat:
        await chat.send(Prompt(client_id=ClientId("big"), text="x" * (2 << 20)))
        refusal = await chat.until(lambda c: c.refusals and c.refusals[-1])
        assert refusal.problem.status == 413
        assert refusal.problem.detail
        status, problem, headers = await ada.request(
            "POST", f"/api/v1/sessions/{session}/prompts", json={"text": "x" * (2 << 20)}
        )
        assert status == 413
        assert headers["Content-Type"].startswith("application/problem+json")
        assert problem["title"]
        assert (await chat.turn("hello")).outcome == "completed"


async def test_unknown_and_foreign_sessions_are_alike(
    ada: ApiClient, bob: ApiClient, session: str
) -> None:
    """404 for both, byte for byte but for nothing, on every route that takes an id."""
    for method, path in [
        ("GET", ""), ("DELETE", ""), ("GET", "/events"), ("POST", "/stop"), ("GET", "/stream"),
    ]:  # fmt: skip
        headers = {"Accept": "text/event-stream"} if path == "/stream" else None
        foreign = await bob.request(method, f"/api/v1/sessions/{session}{path}", headers=headers)
        unknown = await ada.request(
            method, f"/api/v1/sessions/{'0' * len(session)}{path}", headers=headers
        )
        assert foreign[0] == unknown[0] == 404, (method, path)
        assert foreign[1]["title"] == unknown[1]["title"]
    status, view, _ = await ada.request("GET", f"/api/v1/sessions/{session}")
    assert status == 200
    assert view["state"] == "idle"


async def test_answers_to_what_is_gone(ada: ApiClient, session: str) -> None:
    """An answer that comes too late, or to nothing, is refused by name; the first answer holds."""
    async with ada.chat(session) as chat:
        allow = PermissionDecision(choice="allow", input_hash="0" * 64)
        await chat.send(DecidePermission(permission_id=PermissionId("gone"), decision=allow))
        await chat.send(GiveAnswer(question_id=QuestionId("gone"), answers={"q": "a"}))
        await chat.send(Stop())
        await chat.send(RemovePrompt(client_id=ClientId("gone")))
        await chat.until(lambda c: len(c.refusals) == 4)
        assert [r.problem.tag for r in chat.refusals] == [
            "answer_too_late", "answer_too_late", "nothing_to_stop", "unknown_prompt",
        ]  # fmt: skip
        await chat.prompt("!bash touch once")
        _, asked = await chat.next(PermissionRequested)
        await chat.send(DecidePermission(permission_id=asked.permission_id, decision=allow))
        await chat.send(decision_on(asked, "deny"))
        await chat.send(decision_on(asked, "allow"))
        await chat.until(lambda c: len(c.refusals) == 6)
        assert [r.problem.tag for r in chat.refusals[4:]] == ["input_changed", "answer_too_late"]
        await chat.next(TurnEnded)
        assert [r.choice for r in chat.of(PermissionResolved)] == ["deny"]


async def test_a_session_that_is_over_takes_no_prompt(ada: ApiClient) -> None:
    """It stays readable; a prompt is refused with what to do."""
    view = await ada.create()
    async with ada.chat(view["id"]) as chat:
        await chat.turn("hello")
        await chat.send(End())
        await chat.until(lambda c: c.view and c.view.state == "ended")
    async with ada.chat(view["id"]) as chat:
        await chat.send(Prompt(client_id=ClientId("late"), text="hello?"))
        refusal = await chat.until(lambda c: c.refusals and c.refusals[-1])
        assert refusal.problem.tag == "session_over"
        assert chat.of(TurnEnded)


async def test_a_failing_model_is_explained_and_the_session_lives(
    ada: ApiClient, session: str
) -> None:
    """For each failure the person reads what happened and what to do; the next prompt works."""
    async with ada.chat(session) as chat:
        for step in ("!fail 401", "!fail 429", "!fail 529", "!fail 500", "!cut"):
            seq = chat.seq
            ended = await chat.turn(step, limit=60)
            told = [e for s, e in chat.events if s > seq and isinstance(e, UpstreamFailed)]
            assert told, step
            assert told[0].sentence, step
            assert told[0].advice, step
            if step != "!cut":
                assert ended.outcome == "failed", step
        assert (await chat.turn("hello")).outcome == "completed"


async def test_a_model_that_cannot_be_reached_is_explained(
    sandbox_image: BuiltImage, model: ScriptedModel
) -> None:
    """Where nothing answers at the model's address a person reads so; the session lives."""
    assert sandbox_image
    nowhere = {"CASEMATE_GATEWAY_UPSTREAM_URL": f"http://127.0.0.1:{free_port()}"}
    with running_casemate(environment(model) | nowhere, users={"ada": PASSWORD}) as casemate:
        async with ApiClient.signed_in(casemate.url, "ada", PASSWORD) as ada:
            view = await ada.create()
            async with ada.chat(view["id"]) as chat:
                assert (await chat.turn("hello", limit=60)).outcome == "failed"
                told = chat.of(UpstreamFailed)[0]
                assert "reach" in told.sentence
                assert told.advice
                await chat.until(lambda c: c.view and c.view.state == "idle")
