"""The generated TypeScript says what the wire says."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.protocol import chat, event_parts, events
from orchestrator.protocol.typescript import Translation, UntranslatableError, typescript
from orchestrator.protocol.wire import Wire

GENERATED = Path(__file__).parents[3] / "web/src/protocol/chat.generated.ts"


class Tricky(Wire):
    """Ends */ here."""


def test_the_committed_file_is_up_to_date() -> None:
    """What the page compiles against is what the server speaks."""
    assert GENERATED.read_text() == typescript()


def test_the_output_is_deterministic() -> None:
    """Two runs give the same bytes."""
    assert typescript() == typescript()


def test_every_member_of_the_unions_is_declared_with_its_tag() -> None:
    """A frame's `type` is a literal that TypeScript can switch on."""
    text = typescript()
    for member in (*chat.BrowserCommand.__args__, *events.Event.__args__):
        declaration = text.split(f"export interface {member.__name__} {{\n")[1]
        assert declaration.startswith(f'  type: "{member.__struct_config__.tag}";\n')


def test_a_default_makes_a_field_optional() -> None:
    """The wire leaves defaults out, so the page must not count on them."""
    text = typescript()
    assert "  cost_usd?: number;\n" in text
    assert "  created_at: string;\n" in text


def test_a_raw_field_is_named_by_its_note() -> None:
    """Bytes that are passed on unread still have a type in the page."""
    assert "  event: Event;\n" in typescript()


def test_docstrings_become_comments() -> None:
    """A reader of the page's types finds the meaning beside them."""
    text = typescript()
    assert "/** The whole to-do list of the session, as it is now. */\nexport interface" in text
    assert "  /** 0 to 1. */\n  utilization?: number | null;\n" in text


@pytest.mark.parametrize(
    ("hint", "expression"),
    [
        (list[str | int], "(string | number)[]"),
        (dict[str, list[float]], "Record<string, number[]>"),
        (str | None, "string | null"),
        (event_parts.PermissionMode, "PermissionMode"),
        (dict[str, Any], "Record<string, unknown>"),
    ],
)
def test_a_hint_has_its_expression(hint: Any, expression: str) -> None:
    """Containers, unions and named literals keep their shape."""
    assert Translation().type_of(hint) == expression


def test_a_type_without_a_form_is_refused_by_name() -> None:
    """Nothing is guessed: a type that the page cannot know stops the generator."""
    with pytest.raises(UntranslatableError, match="bytes"):
        Translation().type_of(bytes)


def test_a_comment_cannot_be_closed_from_inside() -> None:
    """A docstring is text, whatever it holds."""
    translation = Translation()
    translation.type_of(Tricky)
    assert "*/ here" not in translation.text()
