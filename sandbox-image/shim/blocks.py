"""Names the blocks of Claude's messages, so that a block's pieces and its final event agree.

The CLI streams a message's blocks as deltas with an index, and then sends one message per finished
block, with the message's id but without the index. Pure: state in, state out, nothing else.
"""

from collections import OrderedDict
from typing import Any, Literal

from orchestrator.protocol.sandbox_events import BlockDelta
from shim.foreign_values import as_dict, as_int, as_text, as_text_or_none

Kind = Literal["text", "thinking", "tool_input"]

MAX_MESSAGES = 64
"""Messages remembered. Each is complete within one answer of the model."""

_KINDS: dict[str, Kind] = {
    "text": "text",
    "thinking": "thinking",
    "tool_use": "tool_input",
    "server_tool_use": "tool_input",
}
_DELTAS: dict[str, tuple[Kind, str]] = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "input_json_delta": ("tool_input", "partial_json"),
}


class _Block:
    """One block that is being streamed."""

    def __init__(self, kind: Kind, *, tool_use_id: str | None, tool_name: str | None) -> None:
        self.kind = kind
        self.tool_use_id = tool_use_id
        self.tool_name = tool_name
        self.length = 0
        """Code points so far."""


class _Message:
    def __init__(self) -> None:
        self.blocks: dict[int, _Block] = {}
        self.finished: set[int] = set()


class Blocks:
    """The blocks of the messages under way, of Claude itself and of each subagent."""

    def __init__(self) -> None:
        self._messages: OrderedDict[str, _Message] = OrderedDict()
        self._streaming: OrderedDict[str | None, str] = OrderedDict()
        """Parent (a subagent's tool use, or None) to the id of the message that it streams."""

    def streamed(self, event: dict[str, Any], *, parent: str | None) -> list[BlockDelta]:
        """What a raw stream event of the model API adds to a block."""
        match event.get("type"):
            case "message_start":
                self._begin(as_text(as_dict(event.get("message")).get("id")), parent)
                return []
            case "content_block_start":
                return self._start(event, parent)
            case "content_block_delta":
                return self._grow(event, parent)
            case _:
                return []

    def finish(self, message_id: str, kind: Kind | None, *, tool_use_id: str | None = None) -> int:
        """The index of a block that arrived whole: that of its deltas, else the next free one."""
        message = self._message(message_id)
        index = self._streamed_index(message, kind, tool_use_id)
        if index is None:
            index = max((*message.finished, *message.blocks), default=-1) + 1
        message.finished.add(index)
        return index

    def _begin(self, message_id: str, parent: str | None) -> None:
        self._streaming[parent] = message_id
        self._streaming.move_to_end(parent)
        if len(self._streaming) > MAX_MESSAGES:
            self._streaming.popitem(last=False)
        self._message(message_id)

    def _message(self, message_id: str) -> _Message:
        message = self._messages.setdefault(message_id, _Message())
        self._messages.move_to_end(message_id)
        if len(self._messages) > MAX_MESSAGES:
            self._messages.popitem(last=False)
        return message

    def _start(self, event: dict[str, Any], parent: str | None) -> list[BlockDelta]:
        content = as_dict(event.get("content_block"))
        kind = _KINDS.get(as_text(content.get("type")))
        if kind is None or parent not in self._streaming:
            return []
        block = _Block(
            kind,
            tool_use_id=as_text_or_none(content.get("id")) if kind == "tool_input" else None,
            tool_name=as_text_or_none(content.get("name")) if kind == "tool_input" else None,
        )
        index = as_int(event.get("index"))
        self._message(self._streaming[parent]).blocks[index] = block
        text = "" if kind == "tool_input" else as_text(content.get(kind))
        return [self._piece(block, index, text, parent)]

    def _grow(self, event: dict[str, Any], parent: str | None) -> list[BlockDelta]:
        delta = as_dict(event.get("delta"))
        kind, field = _DELTAS.get(as_text(delta.get("type")), (None, ""))
        if kind is None or parent not in self._streaming:
            return []
        index = as_int(event.get("index"))
        blocks = self._message(self._streaming[parent]).blocks
        block = blocks.setdefault(index, _Block(kind, tool_use_id=None, tool_name=None))
        text = as_text(delta.get(field))
        return [self._piece(block, index, text, parent)] if text else []

    def _piece(self, block: _Block, index: int, text: str, parent: str | None) -> BlockDelta:
        offset = block.length
        block.length += len(text)
        return BlockDelta(
            message_id=self._streaming[parent],
            index=index,
            kind=block.kind,
            offset=offset,
            text=text,
            tool_use_id=block.tool_use_id,
            tool_name=block.tool_name,
            parent=parent,
        )

    @staticmethod
    def _streamed_index(
        message: _Message, kind: Kind | None, tool_use_id: str | None
    ) -> int | None:
        """The oldest streamed block that it can be. A tool's is known by the tool use's id."""
        for index, block in sorted(message.blocks.items()):
            same_tool = tool_use_id is None or block.tool_use_id == tool_use_id
            if index not in message.finished and block.kind == kind and same_tool:
                return index
        return None
