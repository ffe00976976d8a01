"""What events are made of: values that have no meaning of their own on the wire."""

from typing import Annotated, Any, Literal

import msgspec

MAX_COUNT = 2**53
"""What a browser can hold exactly, and every database."""
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
ExitCode = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31)]
IS_NAME = msgspec.Meta(max_length=300)
"""Names go into lists, logs and every view of a session, so they are short."""
Name = Annotated[str, IS_NAME]
Names = Annotated[list[Name], msgspec.Meta(max_length=2000)]
PathText = Annotated[str, msgspec.Meta(max_length=4096)]

PermissionMode = Literal["default", "acceptEdits", "plan", "dontAsk"]
"""What Claude may do without asking. `bypassPermissions` is refused by the image's settings."""

ToolUseId = Name


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens, as the model API counts them."""

    input_tokens: Count = 0
    output_tokens: Count = 0
    cache_read_tokens: Count = 0
    cache_write_tokens: Count = 0


class ContentPart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One part of a tool's result: text, an image (base64) or anything else as JSON."""

    kind: Literal["text", "image", "other"]
    text: str = ""
    media_type: Name = ""
    data: str = ""
    other: Any = None


class Todo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    content: str
    status: Literal["pending", "in_progress", "completed"] = "pending"
    active_form: str = ""
    id: Name = ""


class Rule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    tool: Name
    content: str | None = None
    """`Bash(make:*)` is tool `Bash`, content `make:*`."""


class Suggestion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change of the rules that would make this question unnecessary next time."""

    kind: Name
    """The SDK's type: `addRules`, `setMode`, `addDirectories`, ..."""
    rules: list[Rule] = []
    behavior: Name | None = None
    mode: Name | None = None
    directories: list[str] = []
    destination: Name | None = None


class Option(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    label: str
    description: str = ""
    preview: str | None = None


class Question(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    question: str
    header: str = ""
    options: list[Option] = []
    multi_select: bool = False
