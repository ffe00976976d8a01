"""The checkpoints of a session: look, take home, keep one now, go back to one."""

from typing import Annotated

from litestar import Router, get, post
from litestar.params import FromPath, QueryParameter

from orchestrator.api.dependencies import ASessions, TheActor, TheSettings
from orchestrator.api.documented import problems
from orchestrator.api.downloads import DownloadResponse
from orchestrator.api.file_routes import ANY_CONTENT, CONTENT
from orchestrator.api.views import Answer
from orchestrator.protocol.chat import GoBack, TakeCheckpoint
from orchestrator.protocol.ids import SessionId, TurnId
from orchestrator.sessions.kept.kept import MAX_PAGE
from orchestrator.sessions.ports import Checkpoint

PageSize = Annotated[
    int, QueryParameter(ge=1, le=MAX_PAGE, description="How many at most, the newest first.")
]


class CheckpointView(Answer, frozen=True, kw_only=True):
    """Files that were kept, and where the conversation was then."""

    id: str
    created_at: str
    seq: int
    """The session's last event before it, or the last one after which the files were still the
    same."""
    turn_id: TurnId | None
    size: int
    """Bytes of its archive."""
    unpacked: int
    """Bytes of its files."""
    entries: int
    omitted: int
    """Entries that could not be carried."""


class CheckpointList(Answer, frozen=True, kw_only=True):
    checkpoints: list[CheckpointView]


@get("/{session_id:str}/checkpoints", name="list_checkpoints", responses=problems(404))
async def list_checkpoints(
    session_id: FromPath[SessionId], sessions: ASessions, actor: TheActor, limit: PageSize = 50
) -> CheckpointList:
    """What one can go back to, newest first. Nothing is left of it when the session has ended."""
    page = await sessions.kept.page(actor, session_id, limit=limit)
    return CheckpointList(checkpoints=[_view(checkpoint) for checkpoint in page])


@get(
    "/{session_id:str}/checkpoints/{checkpoint_id:str}/content",
    name="download_checkpoint",
    media_type=ANY_CONTENT,
    responses={200: CONTENT, **problems(404, 429, 503)},
)
async def download_checkpoint(
    session_id: FromPath[SessionId],
    checkpoint_id: FromPath[str],
    sessions: ASessions,
    actor: TheActor,
    settings: TheSettings,
) -> DownloadResponse:
    """The files as a tar archive, compressed with Zstandard, as the sandbox made it: unpack it only
    where you would run what is in it. A connection that breaks off means that it is not whole."""
    download = await sessions.kept.download(actor, session_id, checkpoint_id)
    return DownloadResponse(download, send_seconds=settings.send_seconds)


@post(
    "/{session_id:str}/checkpoints",
    name="take_checkpoint",
    status_code=202,
    responses=problems(404, 409, 415, 503),
)
async def take_checkpoint(
    session_id: FromPath[SessionId], sessions: ASessions, actor: TheActor
) -> None:
    """Keep the files as they are now, between turns. The stream tells what came of it; where
    nothing had changed, nothing does."""
    await sessions.command(actor, session_id, TakeCheckpoint())


@post(
    "/{session_id:str}/checkpoints/{checkpoint_id:str}/go-back",
    name="go_back",
    status_code=202,
    responses=problems(404, 409, 415, 503),
)
async def go_back(
    session_id: FromPath[SessionId],
    checkpoint_id: FromPath[str],
    sessions: ASessions,
    actor: TheActor,
) -> None:
    """Make files and conversation what they were at this checkpoint, between turns. The stream
    tells when they are. What came after stays readable, and one can go forward to it again."""
    await sessions.kept.get(actor, session_id, checkpoint_id)
    await sessions.command(actor, session_id, GoBack(checkpoint_id=checkpoint_id))


def _view(checkpoint: Checkpoint) -> CheckpointView:
    return CheckpointView(
        id=checkpoint.id,
        created_at=checkpoint.created_at,
        seq=checkpoint.seq,
        turn_id=checkpoint.turn_id,
        size=checkpoint.size,
        unpacked=checkpoint.unpacked,
        entries=checkpoint.entries,
        omitted=checkpoint.omitted,
    )


def checkpoint_router() -> Router:
    handlers = [list_checkpoints, download_checkpoint, take_checkpoint, go_back]
    return Router(path="/sessions", tags=["checkpoints"], route_handlers=handlers)
