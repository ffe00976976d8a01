"""Writes one answer of the scripted model: streamed at a pace, whole, or as an error."""

import asyncio
from typing import Any

import msgspec
from aiohttp import web

from orchestrator.testing.scripted_model import message_events as events
from orchestrator.testing.scripted_model.answer import Part, Text, Thinking, ToolUse
from orchestrator.testing.scripted_model.api_errors import error_body, request_id
from orchestrator.testing.scripted_model.script import Cut, Fail, Wait

_PING_EVERY = 5.0
_CUT_TEXT = Text(text="This sentence is cut off in the")


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How fast the model is. The defaults are as fast as the machine."""

    first_token: float = 0.0
    """Seconds before the first word."""
    words_per_second: float | None = None


class AnswerWriter:
    def __init__(self, request: web.Request, *, body: dict[str, Any], pace: Pace) -> None:
        self._request = request
        self._body = body
        self._pace = pace
        self._response = web.StreamResponse(
            headers={
                "content-type": "text/event-stream; charset=utf-8",
                "cache-control": "no-cache",
                "request-id": request_id(),
            }
        )

    async def answer(self, parts: list[Part]) -> web.StreamResponse:
        """Raises ConnectionResetError when the client has gone."""
        while parts and isinstance(parts[0], Wait) and self._waits_before_headers(parts):
            await asyncio.sleep(parts[0].seconds)
            parts = parts[1:]
        if parts and isinstance(parts[0], Fail):
            return _failure(parts[0])
        await asyncio.sleep(self._pace.first_token)
        if self._body.get("stream"):
            return await self._stream(parts)
        return await self._whole(parts)

    def _waits_before_headers(self, parts: list[Part]) -> bool:
        """A stream begins at once, unless all that comes is an error."""
        only_fails = all(isinstance(part, Wait | Fail) for part in parts)
        return only_fails or not self._body.get("stream")

    async def _whole(self, parts: list[Part]) -> web.StreamResponse:
        for part in parts:
            match part:
                case Wait(seconds=seconds):
                    await asyncio.sleep(seconds)
                case Fail():
                    return _failure(part)
                case Cut():
                    return self._cut()
        content = events.whole_message(
            parts,
            message_id=events.new_message_id(),
            model=str(self._body.get("model")),
            stop_reason=events.stop_reason(parts),
            usage=events.input_usage(self._body) | {"output_tokens": events.output_tokens(parts)},
        )
        return json_response(content)

    async def _stream(self, parts: list[Part]) -> web.StreamResponse:
        await self._response.prepare(self._request)
        await self._response.write(self._opening() + events.ping())
        index = 0
        for part in parts:
            match part:
                case Wait(seconds=seconds):
                    await self._wait(seconds)
                case Fail(status=status):
                    await self._response.write(
                        b"event: error\ndata: " + error_body(status) + b"\n\n"
                    )
                    return self._response
                case Cut():
                    await self._write_block(index, _CUT_TEXT, unfinished=True)
                    return self._cut()
                case Text() | Thinking() | ToolUse():
                    await self._write_block(index, part)
                    index += 1
        usage = {"output_tokens": events.output_tokens(parts)}
        end = events.message_end(stop_reason=events.stop_reason(parts), usage=usage)
        await self._response.write(end)
        await self._response.write_eof()
        return self._response

    def _opening(self) -> bytes:
        return events.message_start(
            message_id=events.new_message_id(),
            model=str(self._body.get("model")),
            usage=events.input_usage(self._body),
        )

    async def _wait(self, seconds: float) -> None:
        """With pings, as the real API keeps a silent stream alive."""
        while seconds > 0:
            await asyncio.sleep(min(seconds, _PING_EVERY))
            seconds -= _PING_EVERY
            await self._response.write(events.ping())

    async def _write_block(
        self, index: int, part: Text | Thinking | ToolUse, *, unfinished: bool = False
    ) -> None:
        rate = self._pace.words_per_second
        if isinstance(part, Text) and part.per_second:
            rate = part.per_second
        loop = asyncio.get_running_loop()
        started, words = loop.time(), 0
        pieces = list(events.block_pieces(index, part, words_each=1 if rate else 4))
        for piece in pieces[:-1] if unfinished else pieces:
            if rate and piece.words:
                await asyncio.sleep(started + words / rate - loop.time())
            await self._response.write(piece.data)
            words += piece.words

    def _cut(self) -> web.StreamResponse:
        if self._request.transport is not None:
            self._request.transport.close()
        return self._response


def error_response(status: int, message: str | None = None) -> web.Response:
    return json_response(error_body(status, message), status=status)


def _failure(step: Fail) -> web.Response:
    response = error_response(step.status)
    wait = step.retry_after
    if wait is None and step.status == 429:  # noqa: PLR2004 - HTTP's own number
        wait = 1
    if wait is not None:
        response.headers["retry-after"] = str(wait)
    return response


def json_response(content: bytes, *, status: int = 200) -> web.Response:
    headers = {"request-id": request_id()}
    return web.Response(
        body=content, status=status, content_type="application/json", headers=headers
    )
