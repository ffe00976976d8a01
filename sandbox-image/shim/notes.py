"""What the CLI says in the user's place: outputs of commands, summaries. Pure."""

import re

from orchestrator.protocol.sandbox_events import NoteWritten, SandboxEvent

INTERRUPTED = "[Request interrupted by user"
"""The CLI's own note of an interrupt; the turn's result says it."""
SUMMARY = "This session is being continued from a previous conversation"
"""How the summary begins that takes the place of a compacted conversation."""
_COMMAND_OUTPUT = re.compile(r"\A<(local-command-std(?:out|err))>(.*)</\1>\s*\Z", re.DOTALL)


def note(text: str, *, origin: str, parent: str | None) -> list[SandboxEvent]:
    """Empty where there is nothing to be shown. `origin` falls back to `command` or `summary`."""
    output = _COMMAND_OUTPUT.match(text)
    if output is not None:
        text, origin = output[2], origin or "command"
    elif text.startswith(SUMMARY):
        origin = origin or "summary"
    if not text.strip() or text.startswith(INTERRUPTED):
        return []
    return [NoteWritten(text=text, origin=origin, parent=parent)]
