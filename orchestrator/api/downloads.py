"""Downloads: bytes of a workspace on their way to a browser, which must never take them for ours.

Whatever is in them, a browser saves it and shows nothing of it. One that breaks in the middle ends
as a broken connection: a short file that looks whole would be worse.
"""

import asyncio
from typing import Any
from urllib.parse import quote

import structlog
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Send

from orchestrator.protocol.file_names import hides
from orchestrator.sessions.errors import RuleBroken
from orchestrator.sessions.files.files import Download

HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Accel-Buffering": "no",
}
_NOT_IN_QUOTES = frozenset('"\\%;')

_log = structlog.stdlib.get_logger("casemate.downloads")


class DownloadResponse(ASGIResponse):
    """Streams a download as its reader takes it, and closes it, whatever happens."""

    _should_set_content_length = False

    def __init__(self, download: Download, *, send_seconds: float) -> None:
        headers = HEADERS | {"Content-Disposition": attachment(download.name)}
        if download.size is not None:
            headers["Content-Length"] = str(download.size)
        super().__init__(headers=headers, media_type="application/octet-stream", status_code=200)
        self._download = download
        self._send_seconds = send_seconds

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._download.close()

    async def send_body(self, send: Send, receive: Receive) -> None:
        sending = asyncio.create_task(self._send(send), name="download")
        leaving = asyncio.create_task(_until_gone(receive), name="download-watch")
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
        if not sending.cancelled():
            sending.result()

    async def _send(self, send: Send) -> None:
        """Without the last message the server cuts the connection, so that the reader notices."""
        try:
            async for chunk in self._download.chunks:
                async with asyncio.timeout(self._send_seconds):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except RuleBroken as broken:
            _log.warning("download.broke", tag=broken.tag)
        except TimeoutError:
            _log.info("download.too_slow")
        else:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def attachment(name: str) -> str:
    """RFC 6266, for a name of any origin: a plain form of it, and the whole one in UTF-8."""
    shown = "".join("_" if hides(character) else character for character in name)
    plain = "".join(
        character if " " <= character <= "~" and character not in _NOT_IN_QUOTES else "_"
        for character in shown
    )
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(shown, safe='')}"
