"""The title that a session takes from its first prompt. Pure."""

UNTITLED = "New session"
MAX_TITLE = 60
"""Of a title taken from a prompt: what a list shows in one line."""
MAX_CHOSEN_TITLE = 200
ELLIPSIS = "…"


def title_from(text: str, *, longest: int = MAX_TITLE) -> str:
    """The first line with something on it, without control characters."""
    first = next((line for line in text.splitlines() if line.strip()), UNTITLED)
    printable = "".join(char if char.isprintable() else " " for char in first)
    words = " ".join(printable.split()) or UNTITLED
    if len(words) <= longest:
        return words
    return words[: longest - 1].rstrip() + ELLIPSIS
