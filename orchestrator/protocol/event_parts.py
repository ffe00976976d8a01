"""What events are made of: values that have no meaning of their own on the wire."""

from typing import Any, Literal

import msgspec

PermissionMode = Literal["default", "acceptEdits", "plan", "dontAsk"]
"""What Claude may do without asking. `bypassPermissions` is refused by the image's settings."""

ToolUseId = str


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens, as the model API counts them."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0


class ContentPart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One part of a tool's result: text, an image (base64) or anything else as JSON."""

    kind: Literal["text", "image", "other"]
    text: str = ""
    media_type: str = ""
    data: str = ""
    other: Any = None


class Todo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    content: str
    status: Literal["pending", "in_progress", "completed"] = "pending"
    active_form: str = ""
    id: str = ""


class Rule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    tool: str
    content: str | None = None
    """`Bash(make:*)` is tool `Bash`, content `make:*`."""


class Suggestion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change of the rules that would make this question unnecessary next time."""

    kind: str
    """The SDK's type: `addRules`, `setMode`, `addDirectories`, ..."""
    rules: list[Rule] = []
    behavior: str | None = None
    mode: str | None = None
    directories: list[str] = []
    destination: str | None = None


class Option(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    label: str
    description: str = ""
    preview: str | None = None


class Question(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    question: str
    header: str = ""
    options: list[Option] = []
    multi_select: bool = False
