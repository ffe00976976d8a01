"""The upstream key is nowhere that a sandbox, its transcript, a log or the database can show it."""

from pathlib import Path

from orchestrator.protocol.sandbox_events import PermissionRequested, ToolFinished, TurnEnded
from orchestrator.testing.chat_client import ApiClient, Chat, decision_on
from orchestrator.testing.running_casemate import RunningCasemate
from orchestrator.testing.scripted_model import ScriptedModel

from .conftest import KEY

# The search must not find itself: its command line holds the needle in two pieces, and all is read
# before a `grep` runs with the whole one.
NEEDLE = KEY[len(KEY) // 2 :]
SPLIT = f"{NEEDLE[:5]}''{NEEDLE[5:]}"
HUNT = (
    f"k={SPLIT}; "
    "all=$(env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'); "
    'printf %s "$all" | grep -c -F "$k"; '
    'grep -r -l -s -a -F "$k" /home /workspace /tmp /run /etc /opt /var 2>/dev/null | wc -l; '
    # What is there is found the same way: the placeholder, and a file that was just written.
    'echo searched; touch trace; printf %s "$all" | grep -q not-a-secret && echo found; '
    "echo decoy-$$ > /tmp/decoy; grep -r -l -s -a -F decoy-$$ /tmp | wc -l"
)


async def run(chat: Chat, command: str) -> str:
    seq = await chat.prompt(f"!bash {command}")
    await chat.until(
        lambda c: next(
            (s for s, e in c.events if s > seq and isinstance(e, PermissionRequested | TurnEnded)),
            None,
        )
    )
    asked = [e for s, e in chat.events if s > seq and isinstance(e, PermissionRequested)]
    for question in asked:
        await chat.send(decision_on(question, "allow"))
    _, finished = await chat.next(ToolFinished, after=seq)
    await chat.next(TurnEnded, after=seq)
    return "".join(part.text for part in finished.content)


async def test_the_key_is_nowhere(
    casemate: RunningCasemate, ada: ApiClient, session: str, model: ScriptedModel
) -> None:
    """Environment, /proc, files and transcript of the sandbox, the log and the database: no trace;
    and yet the model was called with it."""
    async with ada.chat(session) as chat:
        found = (await run(chat, HUNT)).split()
        assert found == ["0", "0", "searched", "found", "1"]
        said = [str(event) for _, event in chat.events]
        assert not [line for line in said if KEY in line]
    assert any(KEY in str(request.headers) for request in model.requests)
    assert KEY not in casemate.log
    for file in Path(casemate.home).rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file.name


async def test_the_sandbox_has_no_network(ada: ApiClient, session: str) -> None:
    """There is the loopback and nothing else."""
    async with ada.chat(session) as chat:
        assert "lo" in (said := await run(chat, "ls /sys/class/net; touch x"))
        assert "eth" not in said
