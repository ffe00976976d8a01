"""Counts tokens as an answer passes by. Pure; holds a bounded part of the answer.

A streamed answer tells the prompt's tokens at its start and the answer's at its end. Where the end
never came, the answer's are estimated from what passed: that is billed too.
"""

import msgspec

from orchestrator.costs import price
from orchestrator.protocol.control_events import UsageMetered
from orchestrator.protocol.event_parts import Usage

_LINE_LIMIT = 1 << 20
_WHOLE_LIMIT = 8 << 20
_CHARS_PER_TOKEN = 4
_MAX_COUNT = 1 << 40


class _CacheCreation(msgspec.Struct):
    ephemeral_1h_input_tokens: int | None = None


class _Counts(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _CacheCreation | None = None


class _Message(msgspec.Struct):
    model: str | None = None
    usage: _Counts | None = None


class _Delta(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None


class _Error(msgspec.Struct):
    type: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    message: _Message | None = None
    usage: _Counts | None = None
    delta: _Delta | None = None
    error: _Error | None = None


class Meter:
    """Fed with the bytes of one answer, in any pieces."""

    def __init__(self, *, model: str, streams: bool) -> None:
        self._model = model
        self._streams = streams
        self._buffer = bytearray()
        self._skipping = False
        self._counts = Usage()
        self._write_1h = 0
        self._seen_chars = 0
        self._counted = False
        self._exact = False
        self.stopped = False
        """The stream said its last word; an answer without it was cut."""
        self.error_type: str | None = None
        """The error that came inside the stream."""

    def feed(self, piece: bytes) -> None:
        if not self._streams:
            if len(self._buffer) + len(piece) <= _WHOLE_LIMIT:
                self._buffer += piece
            return
        self._buffer += piece
        *lines, rest = self._buffer.split(b"\n")
        for line in lines:
            if not self._skipping:
                self._read_line(line)
            self._skipping = False
        if len(rest) > _LINE_LIMIT:
            rest, self._skipping = bytearray(), True
        self._buffer = rest

    def finish(self) -> UsageMetered | None:
        """Once, at the end. None if the answer told no usage at all."""
        if not self._streams:
            self._read_whole()
        if not self._counted:
            return None
        usage = self._counts
        if not self._exact:
            seen = max(usage.output_tokens, self._seen_chars // _CHARS_PER_TOKEN)
            usage = msgspec.structs.replace(usage, output_tokens=seen)
        cost = price(self._model, usage, cache_write_1h_tokens=self._write_1h)
        return UsageMetered(model=self._model, usage=usage, cost_usd=cost)

    def _read_line(self, line: bytearray) -> None:
        if not line.startswith(b"data:"):
            return
        try:
            event = msgspec.json.decode(line[5:], type=_Event)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        match event.type:
            case "message_start" if event.message is not None:
                self._model = event.message.model or self._model
                self._count(event.message.usage)
            case "content_block_delta" if event.delta is not None:
                texts = (event.delta.text, event.delta.thinking, event.delta.partial_json)
                self._seen_chars += sum(len(text) for text in texts if text)
            case "message_delta" if event.usage is not None:
                self._count(event.usage)
                self._exact = True
            case "message_stop":
                self.stopped = True
            case "error":
                self.error_type = (event.error and event.error.type) or "api_error"

    def _read_whole(self) -> None:
        try:
            message = msgspec.json.decode(self._buffer, type=_Message)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        self._model = message.model or self._model
        self._count(message.usage)
        self._exact = self.stopped = message.usage is not None

    def _count(self, counts: _Counts | None) -> None:
        """What is told later replaces what was told before: the API's counts are cumulative."""
        if counts is None:
            return
        self._counted = True
        before = self._counts
        self._counts = Usage(
            input_tokens=_newer(counts.input_tokens, before.input_tokens),
            output_tokens=_newer(counts.output_tokens, before.output_tokens),
            cache_read_tokens=_newer(counts.cache_read_input_tokens, before.cache_read_tokens),
            cache_write_tokens=_newer(
                counts.cache_creation_input_tokens, before.cache_write_tokens
            ),
        )
        if counts.cache_creation is not None:
            told = counts.cache_creation.ephemeral_1h_input_tokens
            self._write_1h = _newer(told, self._write_1h)


def _newer(told: int | None, before: int) -> int:
    return before if told is None else min(max(told, 0), _MAX_COUNT)
