"""Which names of files cross a border: the same rule in the sandbox and outside of it. Pure.

A path is relative to the workspace and separated by `/`. Names that hide what they are (control
characters, text direction, invisible characters) or that mean something else on another system
(`\\`) are not carried at all, so that nobody behind this rule has to think of them.
"""

import unicodedata

MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 1024
MAX_DEPTH = 64
_JOINERS = "\u200c\u200d"
"""Invisible too, but Persian, Hindi and emoji cannot be written without them."""
_HIDING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_NO_INK = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
"""Letters, marks and a symbol that are drawn as nothing."""


class BadFileName(ValueError):
    """`reason` is a sentence for a person; it does not repeat the name."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def split_path(path: str) -> list[str]:
    """The names on the way to a file or directory; none for the workspace itself. Raises
    BadFileName."""
    if not path:
        return []
    names = path.split("/")
    if len(names) > MAX_DEPTH or len(path.encode(errors="surrogatepass")) > MAX_PATH_BYTES:
        raise BadFileName("The path is too long.")
    for name in names:
        check_name(name)
    return names


def check_name(name: str) -> None:
    """One name between two slashes. Raises BadFileName."""
    if name in {"", ".", ".."}:
        raise BadFileName("A path is relative to the workspace and has no empty or dotted parts.")
    if len(name.encode(errors="surrogatepass")) > MAX_NAME_BYTES:
        raise BadFileName("A file name has 255 bytes at most.")
    if "/" in name or "\\" in name:
        raise BadFileName("A file name has no slashes and no backslashes.")
    if any(hides(character) for character in name):
        raise BadFileName("A file name has no control characters and no invisible ones.")


def hides(character: str) -> bool:
    """Whether it shows as something else than what it is, or not at all."""
    if character in _NO_INK:
        return True
    return character not in _JOINERS and unicodedata.category(character) in _HIDING


def visible(text: str, *, longest: int = 200) -> str:
    """Any text as one line that hides nothing, for reports about names that are not carried."""
    shown = "".join(
        f"\\u{ord(character):04x}" if hides(character) else character
        for character in text[:longest]
    )
    return shown if len(text) <= longest else f"{shown}…"
