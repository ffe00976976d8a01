"""Sessions over HTTP: everything that the chat socket can do, for programs, and what lists need."""

import secrets
from typing import Annotated

from litestar import Response, Router, delete, get, patch, post, put
from litestar.params import FromPath, HeaderParameter, JSONBody, QueryParameter

from orchestrator.api.dependencies import AnyRequest, ASessions, TheActor
from orchestrator.api.documented import problems
from orchestrator.api.errors import BadHeader
from orchestrator.api.views import (
    Answers,
    Decision,
    EventPage,
    ModelWish,
    NewTitle,
    PermissionModeWish,
    PromptReceipt,
    PromptWish,
    SessionWish,
)
from orchestrator.protocol.chat import (
    MAX_COMMAND_BYTES,
    ChooseModel,
    ChoosePermissionMode,
    DecidePermission,
    End,
    GiveAnswer,
    Hibernate,
    LetGo,
    Prompt,
    RemovePrompt,
    Rename,
    RunAgain,
    SessionView,
    Stop,
    Wake,
)
from orchestrator.protocol.ids import ClientId, PermissionId, QuestionId, SessionId
from orchestrator.sessions.ports import SessionPage

MAX_KEY = 200
MAX_CURSOR = 500

IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="Made by the client. Asked again with the same key, the first answer holds.",
    ),
]
Preference = Annotated[
    str | None,
    HeaderParameter(
        name="Prefer",
        description="`respond-async`: answer 202 at once where no sandbox is free.",
    ),
]


@post(
    "/",
    name="create_session",
    responses=problems(404, 409, 413, 415, 422, 429, 503),
)
async def create_session(
    data: JSONBody[SessionWish],
    sessions: ASessions,
    actor: TheActor,
    idempotency_key: IdempotencyKey = None,
    prefer: Preference = None,
) -> Response[SessionView]:
    """Start a session. 201 once it has its sandbox; 429 with `Retry-After` where none gets free."""
    at_once = wants_answer_at_once(prefer)
    view = await sessions.create(
        actor,
        profile=data.profile,
        title=data.title,
        idempotency_key=checked_key(idempotency_key),
        wait=not at_once,
    )
    headers = {"Location": f"/api/v1/sessions/{view.id}"}
    if at_once:
        headers["Preference-Applied"] = "respond-async"
    status = 202 if view.state == "waiting" else 201
    return Response(view, status_code=status, headers=headers)


@get("/", name="list_sessions", responses=problems(422))
async def list_sessions(
    sessions: ASessions,
    actor: TheActor,
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 50,
    cursor: Annotated[str | None, QueryParameter(max_length=MAX_CURSOR)] = None,
) -> SessionPage:
    """One's own sessions, newest first. `next_cursor` leads on to the older ones."""
    return await sessions.page(actor, limit=limit, cursor=cursor)


@get("/{session_id:str}", name="get_session", responses=problems(404))
async def get_session(
    session_id: FromPath[SessionId], sessions: ASessions, actor: TheActor
) -> SessionView:
    """A session as it is now. Somebody else's is unknown."""
    return await sessions.view(actor, session_id)


@patch("/{session_id:str}", name="rename_session", responses=problems(404, 409, 413, 415, 422))
async def rename_session(
    session_id: FromPath[SessionId],
    data: JSONBody[NewTitle],
    sessions: ASessions,
    actor: TheActor,
) -> SessionView:
    """Give a session another title."""
    await sessions.command(actor, session_id, Rename(title=data.title))
    return await sessions.view(actor, session_id)


@delete("/{session_id:str}", name="delete_session", status_code=204, responses=problems(404))
async def delete_session(
    session_id: FromPath[SessionId], sessions: ASessions, actor: TheActor
) -> None:
    """End a session: its sandbox is destroyed. Its events stay readable."""
    await sessions.command(actor, session_id, End())


@post("/{session_id:str}/end", name="end_session", status_code=200, responses=problems(404, 415))
async def end_session(
    session_id: FromPath[SessionId], sessions: ASessions, actor: TheActor
) -> SessionView:
    """The same as `DELETE`, with the session as it then is for an answer."""
    await sessions.command(actor, session_id, End())
    return await sessions.view(actor, session_id)


@get("/{session_id:str}/events", name="list_events", responses=problems(404, 422))
async def list_events(
    session_id: FromPath[SessionId],
    sessions: ASessions,
    actor: TheActor,
    before: Annotated[int | None, QueryParameter(ge=1)] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> EventPage:
    """The session's durable events below `before`, or the latest ones."""
    events, earlier = await sessions.history(actor, session_id, before=before, limit=limit)
    return EventPage(events=events, earlier=earlier)


@post(
    "/{session_id:str}/prompts",
    name="send_prompt",
    status_code=202,
    request_max_body_size=MAX_COMMAND_BYTES,
    responses=problems(404, 409, 413, 415, 422),
)
async def send_prompt(
    session_id: FromPath[SessionId],
    data: JSONBody[PromptWish],
    request: AnyRequest,
    sessions: ASessions,
    actor: TheActor,
) -> PromptReceipt:
    """Say something. It runs at once, or after the turns before it."""
    client_id = data.client_id or _client_id_of(request)
    await sessions.command(actor, session_id, Prompt(client_id=client_id, text=data.text))
    return PromptReceipt(client_id=client_id)


@delete(
    "/{session_id:str}/prompts/{client_id:str}",
    name="remove_prompt",
    status_code=204,
    responses=problems(404, 409),
)
async def remove_prompt(
    session_id: FromPath[SessionId],
    client_id: FromPath[ClientId],
    sessions: ASessions,
    actor: TheActor,
) -> None:
    """Take back a prompt that still waits."""
    await sessions.command(actor, session_id, RemovePrompt(client_id=client_id))


@post(
    "/{session_id:str}/stop", name="stop_turn", status_code=202, responses=problems(404, 409, 415)
)
async def stop_turn(session_id: FromPath[SessionId], sessions: ASessions, actor: TheActor) -> None:
    """Interrupt the running turn."""
    await sessions.command(actor, session_id, Stop())


@post(
    "/{session_id:str}/permissions/{permission_id:str}",
    name="decide_permission",
    status_code=204,
    request_max_body_size=MAX_COMMAND_BYTES,
    responses=problems(404, 409, 413, 415, 422),
)
async def decide_permission(
    session_id: FromPath[SessionId],
    permission_id: FromPath[PermissionId],
    data: JSONBody[Decision],
    sessions: ASessions,
    actor: TheActor,
) -> None:
    """Allow or deny what Claude asks for."""
    command = DecidePermission(permission_id=permission_id, decision=data.as_command())
    await sessions.command(actor, session_id, command)


@post(
    "/{session_id:str}/questions/{question_id:str}",
    name="answer_question",
    status_code=204,
    responses=problems(404, 409, 413, 415, 422),
)
async def answer_question(
    session_id: FromPath[SessionId],
    question_id: FromPath[QuestionId],
    data: JSONBody[Answers],
    sessions: ASessions,
    actor: TheActor,
) -> None:
    """Answer what Claude asks."""
    command = GiveAnswer(question_id=question_id, answers=data.answers)
    await sessions.command(actor, session_id, command)


@put(
    "/{session_id:str}/model",
    name="choose_model",
    status_code=202,
    responses=problems(404, 409, 413, 415, 422),
)
async def choose_model(
    session_id: FromPath[SessionId],
    data: JSONBody[ModelWish],
    sessions: ASessions,
    actor: TheActor,
) -> None:
    """Let another model go on. The stream tells whether it does."""
    await sessions.command(actor, session_id, ChooseModel(model=data.model))


@put(
    "/{session_id:str}/permission-mode",
    name="choose_permission_mode",
    status_code=202,
    responses=problems(404, 409, 413, 415, 422),
)
async def choose_permission_mode(
    session_id: FromPath[SessionId],
    data: JSONBody[PermissionModeWish],
    sessions: ASessions,
    actor: TheActor,
) -> None:
    """Change what Claude may do without asking. The stream tells whether it was accepted."""
    await sessions.command(actor, session_id, ChoosePermissionMode(mode=data.mode))


@post(
    "/{session_id:str}/unfinished/{client_id:str}/run-again",
    name="run_again",
    status_code=202,
    responses=problems(404, 409, 415),
)
async def run_again(
    session_id: FromPath[SessionId],
    client_id: FromPath[ClientId],
    request: AnyRequest,
    sessions: ASessions,
    actor: TheActor,
) -> PromptReceipt:
    """Run the prompt again whose turn came to no end, as a prompt with an id of its own."""
    again = _client_id_of(request)
    await sessions.command(actor, session_id, RunAgain(client_id=again, unfinished=client_id))
    return PromptReceipt(client_id=again)


@delete(
    "/{session_id:str}/unfinished/{client_id:str}",
    name="let_go",
    status_code=204,
    responses=problems(404, 409),
)
async def let_go(
    session_id: FromPath[SessionId],
    client_id: FromPath[ClientId],
    sessions: ASessions,
    actor: TheActor,
) -> None:
    """Offer the unfinished prompt no longer. Prompts that wait for this go on."""
    await sessions.command(actor, session_id, LetGo(unfinished=client_id))


@post(
    "/{session_id:str}/hibernate",
    name="hibernate_session",
    status_code=202,
    responses=problems(404, 409, 415),
)
async def hibernate_session(
    session_id: FromPath[SessionId], sessions: ASessions, actor: TheActor
) -> None:
    """Keep the files and give the sandbox up, between turns. The stream tells when it is done."""
    await sessions.command(actor, session_id, Hibernate())


@post(
    "/{session_id:str}/wake",
    name="wake_session",
    status_code=202,
    responses=problems(404, 409, 415),
)
async def wake_session(
    session_id: FromPath[SessionId], sessions: ASessions, actor: TheActor
) -> None:
    """Get a sandbox for a session that sleeps, with all that it had. A prompt does so, too."""
    await sessions.command(actor, session_id, Wake())


def wants_answer_at_once(prefer: str | None) -> bool:
    """RFC 7240."""
    return any(part.strip().lower() == "respond-async" for part in (prefer or "").split(","))


def checked_key(key: str | None) -> str | None:
    if key is None:
        return None
    if not key or len(key) > MAX_KEY or not key.isascii() or not key.isprintable():
        raise BadHeader("Idempotency-Key has 1 to 200 printable ASCII characters.")
    return key


def _client_id_of(request: AnyRequest) -> ClientId:
    """A program that repeats a request with its key means the same prompt."""
    key = checked_key(request.headers.get("idempotency-key"))
    return ClientId(key[:64] if key else secrets.token_hex(16))


SESSION_ROUTES = [
    create_session,
    list_sessions,
    get_session,
    rename_session,
    delete_session,
    end_session,
    list_events,
    send_prompt,
    remove_prompt,
    stop_turn,
    decide_permission,
    answer_question,
    choose_model,
    choose_permission_mode,
    run_again,
    let_go,
    hibernate_session,
    wake_session,
]


def session_router() -> Router:
    return Router(path="/sessions", tags=["sessions"], route_handlers=SESSION_ROUTES)
