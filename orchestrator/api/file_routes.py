"""The files of a session's workspace: look, take, put, and take all of it as an archive."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from litestar import Router, get, put
from litestar.exceptions import HTTPException
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    OpenAPIFormat,
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    RequestBody,
    Schema,
)
from litestar.params import FromPath, FromQuery, QueryParameter

from orchestrator.api.dependencies import AnyRequest, ASessions, TheActor, TheSettings
from orchestrator.api.documented import problems
from orchestrator.api.downloads import DownloadResponse
from orchestrator.api.errors import BadHeader
from orchestrator.api.views import Answer, rfc3339
from orchestrator.protocol.ids import SessionId
from orchestrator.protocol.transfers import Entry, Kind
from orchestrator.sessions.files.errors import TransferBroken
from orchestrator.sessions.files.files import Uploaded
from orchestrator.sessions.workspace import Listing

ANY_CONTENT = "application/octet-stream"
CONTENT = ResponseSpec(
    data_container=bytes, media_type=ANY_CONTENT, generate_examples=False, description="The bytes."
)


@dataclass
class Upload(Operation):
    """Tells the OpenAPI document of a body that no handler decodes."""

    def __post_init__(self) -> None:
        schema = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
        content = {ANY_CONTENT: OpenAPIMediaType(schema=schema)}
        self.request_body = RequestBody(content=content, required=True)


FilePath = Annotated[
    str,
    QueryParameter(
        max_length=1024, description="Relative to the workspace, with `/`. Empty: the workspace."
    ),
]


class FileEntry(Answer, frozen=True, kw_only=True):
    """Something in a directory, as the sandbox tells it."""

    name: str
    path: str
    kind: Kind
    size: int
    """Bytes; 0 for what is no file."""
    modified_at: str


class FileList(Answer, frozen=True, kw_only=True):
    """What is in a directory: directories first, each sort by name."""

    path: str
    entries: list[FileEntry]
    truncated: bool
    """There is more than is shown."""
    omitted: int
    """Entries that are left out, because their names hide what they are."""


@get("/{session_id:str}/files", name="list_files", responses=problems(404, 409, 422, 429, 502))
async def list_files(
    session_id: FromPath[SessionId], sessions: ASessions, actor: TheActor, path: FilePath = ""
) -> FileList:
    """Look into a directory of the workspace."""
    return _file_list(path, await sessions.files.list_files(actor, session_id, path))


@get(
    "/{session_id:str}/files/content",
    name="download_file",
    media_type=ANY_CONTENT,
    responses={200: CONTENT, **problems(404, 409, 413, 422, 429, 502)},
)
async def download_file(
    session_id: FromPath[SessionId],
    sessions: ASessions,
    actor: TheActor,
    settings: TheSettings,
    path: FilePath = "",
) -> DownloadResponse:
    """The content of a file, to be saved. A connection that breaks off means that it is not whole.

    Links are not followed.
    """
    download = await sessions.files.download(actor, session_id, path)
    return DownloadResponse(download, send_seconds=settings.send_seconds)


@get(
    "/{session_id:str}/files/archive",
    name="download_archive",
    media_type=ANY_CONTENT,
    responses={200: CONTENT, **problems(404, 409, 413, 422, 429, 502)},
)
async def download_archive(
    session_id: FromPath[SessionId],
    sessions: ASessions,
    actor: TheActor,
    settings: TheSettings,
    path: FilePath = "",
) -> DownloadResponse:
    """A directory with all that is in it, as a zip archive. What cannot be in it is listed in a
    text file at its end. A connection that breaks off means that it is not whole."""
    download = await sessions.files.archive(actor, session_id, path)
    return DownloadResponse(download, send_seconds=settings.send_seconds)


@put(
    "/{session_id:str}/files/content",
    name="upload_file",
    status_code=201,
    request_max_body_size=None,
    operation_class=Upload,
    responses=problems(404, 409, 413, 422, 429, 502, 507),
)
async def upload_file(
    *,
    session_id: FromPath[SessionId],
    request: AnyRequest,
    sessions: ASessions,
    actor: TheActor,
    settings: TheSettings,
    path: FilePath = "",
    overwrite: FromQuery[bool] = False,
) -> Uploaded:
    """Put a file into the workspace: the body is its content, as it is. Missing directories are
    made. The session's stream tells everybody who follows it."""
    return await sessions.files.upload(
        actor,
        session_id,
        path,
        _body(request, patience=settings.receive_seconds),
        size=_declared_size(request),
        overwrite=overwrite,
    )


async def _body(request: AnyRequest, *, patience: float) -> AsyncIterator[bytes]:
    chunks = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(patience):
                chunk = await anext(chunks, None)
        except HTTPException as error:
            raise TransferBroken("upload_cut") from error
        except TimeoutError as error:
            raise TransferBroken("upload_stalled") from error
        if chunk is None:
            return
        yield chunk


def _declared_size(request: AnyRequest) -> int | None:
    declared = request.headers.get("content-length")
    if declared is None:
        return None
    if not declared.isascii() or not declared.isdigit():
        raise BadHeader("Content-Length is a number of bytes.")
    return int(declared)


def _file_list(path: str, listing: Listing) -> FileList:
    return FileList(
        path=path,
        entries=[_file_entry(entry) for entry in listing.entries],
        truncated=listing.truncated,
        omitted=listing.omitted,
    )


def _file_entry(entry: Entry) -> FileEntry:
    return FileEntry(
        name=entry.path.rpartition("/")[2],
        path=entry.path,
        kind=entry.kind,
        size=entry.size,
        modified_at=rfc3339(entry.modified_ms / 1000),
    )


def file_router() -> Router:
    handlers = [list_files, download_file, download_archive, upload_file]
    return Router(path="/sessions", tags=["files"], route_handlers=handlers)
