"""What a script is: rules and steps, as data that a JSON or TOML file can hold.

For: describing what the scripted model shall do. Not for: reading requests or speaking the
protocol. A file looks like this (TOML):

    obeys_commands = true
    [[rules]]
    when = "deploy"
    steps = [{do = "use", tool = "Bash", input = {command = "make deploy"}}]
"""

from pathlib import Path
from typing import Any

import msgspec


class _Step(msgspec.Struct, frozen=True, kw_only=True, tag_field="do", tag=str.lower):
    """Consecutive steps share one response; a step that calls a tool ends it."""


class Say(_Step, frozen=True, kw_only=True):
    """Write `text`, or so many invented `words`."""

    text: str = ""
    words: int = 0
    per_second: float | None = None
    """Words per second; the model's own pace if left out."""


class Think(_Step, frozen=True, kw_only=True):
    words: int = 20


class Use(_Step, frozen=True, kw_only=True):
    """Call this tool with this input, after searching for it where it is not offered at once."""

    tool: str
    input: dict[str, Any]


class Ask(_Step, frozen=True, kw_only=True):
    """Ask the person, with the AskUserQuestion tool."""

    question: str = "Which colour shall it be?"
    options: tuple[str, ...] = ("Red", "Green", "Blue")
    multi_select: bool = False


class Todo(_Step, frozen=True, kw_only=True):
    """Write a to-do list, with whichever tool for that the request offers."""

    items: tuple[str, ...] = ("Read the task", "Do the task", "Check the result")


class Subagent(_Step, frozen=True, kw_only=True):
    """Give `prompt` to a subagent; it talks to this model too, in a conversation of its own."""

    prompt: str


class Fail(_Step, frozen=True, kw_only=True):
    """Answer with an error: always, or so many `times` to the same request, then go on."""

    status: int
    times: int | None = None
    retry_after: int | None = None
    """Seconds; 429 sends 1 if left out."""


class Cut(_Step, frozen=True, kw_only=True):
    """Break the connection in the middle of a sentence."""

    times: int | None = None


class Wait(_Step, frozen=True, kw_only=True):
    seconds: float


Step = Say | Think | Use | Ask | Todo | Subagent | Fail | Cut | Wait


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """For prompts in which the regular expression `when` is found, in any case of letters."""

    when: str
    steps: tuple[Step, ...]


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """The first rule that fits decides, then the `!` commands, then `otherwise`."""

    rules: tuple[Rule, ...] = ()
    obeys_commands: bool = True
    otherwise: tuple[Step, ...] = ()


COMMANDS = """\
- `!bash CMD`: run a command
- `!write PATH TEXT`: write a file
- `!say N words` or `!say N words at R/s`: stream text
- `!think N words`: think aloud
- `!ask`: ask you a question
- `!todo`: make a to-do list
- `!subagent TEXT`: start a subagent
- `!use TOOL` or `!use TOOL {"a": 1}`: use a tool by its name, with this input
- `!fail STATUS` or `!fail STATUS N times`: fail as the model API does (401, 429, 529, ...)
- `!cut`: break the stream in the middle
- `!slow SECONDS`: wait before going on"""

INTRODUCTION = f"""\
This is a scripted model: a stand-in that follows a script, so that Casemate can be tried without \
a key. It understands nothing, but everything around it is real. Set `ANTHROPIC_API_KEY` to talk \
to Claude.

It obeys these commands, one on a line, several in one prompt if you like:

{COMMANDS}"""


def built_in_script() -> Script:
    """What newcomers and tests meet: says what it is, and obeys the commands."""
    notice = Rule(when="^<task-notification>", steps=(Say(text="A background task has ended."),))
    return Script(rules=(notice,), otherwise=(Say(text=INTRODUCTION),))


def load_script(path: Path) -> Script:
    """From a `.toml` or `.json` file. Raises OSError, or msgspec.DecodeError naming the field."""
    decode = msgspec.toml.decode if path.suffix == ".toml" else msgspec.json.decode
    return decode(path.read_bytes(), type=Script)
