"""The shim's transcript: pieces, the store, and the CLI's files."""

import asyncio
import json

import pytest
from claude_agent_sdk import project_key_for_directory
from shim import transcript_files, transcript_pieces
from shim.files import Unfit
from shim.fitting import fit
from shim.outbox import EventOutbox
from shim.pending_tool import continuation
from shim.transcript_files import NoSuchTranscript, TranscriptFiles
from shim.transcript_pieces import BatchTooLarge, as_lines, pieces
from shim.transcript_store import StoreUnavailable, TranscriptStore

from orchestrator.protocol.link import MAX_EVENT_BYTES
from orchestrator.protocol.sandbox_events import sandbox_word_codec
from orchestrator.protocol.transcripts import (
    TranscriptAsked,
    TranscriptKey,
    TranscriptPiece,
    TranscriptReplaced,
)

SESSION = "3ab7d19b-8eb6-4110-9823-8e328cab6dd1"
KEY = TranscriptKey(project="-workspace", agent_session=SESSION)
SDK_KEY = {"project_key": "-workspace", "session_id": SESSION}


class Outbox(EventOutbox):
    """Keeps what was said; answers with `answers`, by what is asked and its subpath."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.said = []
        self.answers = {}
        self.store = TranscriptStore(self)

    def say(self, event) -> None:
        super().say(event)
        self.said.append(event)
        if isinstance(event, TranscriptAsked) and self.answers is not None:
            asyncio.get_running_loop().call_soon(self._answer, event)

    def _answer(self, asked: TranscriptAsked) -> None:
        sink = self.store.sink_for(asked.ask_id)
        body = self.answers.get((asked.what, asked.key.subpath))
        if body is None:
            return sink.missing()
        sink.take(body)
        return sink.finish()

    def all(self, kind):
        return [event for event in self.said if isinstance(event, kind)]


@pytest.fixture
def outbox():
    return Outbox()


@pytest.fixture
def files(outbox, tmp_path):
    return TranscriptFiles(outbox.store, workspace=str(tmp_path / "w"), home=tmp_path)


def row(kind: str, *content, uuid: str = "u", message_id: str = "m") -> dict:
    return {
        "parentUuid": None,
        "type": kind,
        "uuid": uuid,
        "sessionId": SESSION,
        "message": {"id": message_id, "content": list(content)},
    }


def use(tool_use_id: str) -> dict:
    return {"type": "tool_use", "id": tool_use_id, "name": "Bash", "input": {"command": "ls"}}


def result(tool_use_id: str) -> dict:
    return {"type": "tool_result", "tool_use_id": tool_use_id, "content": "x"}


@pytest.mark.parametrize("character", ["a", '"', "\\", "\n", "\x00", "é", "\U0001f600", "\u2028"])
def test_no_piece_is_cut_on_its_way(character):
    """Whatever its characters, a piece with a summary crosses the link as it is."""
    summary = {"title": character * (transcript_pieces.SUMMARY_CHARS // 7)}
    lines = as_lines([{"text": character * 500_000}])
    cut = pieces(KEY, lines, summary=summary)
    assert "".join(piece.text for piece in cut) == lines
    assert [piece.more for piece in cut] == [True] * (len(cut) - 1) + [False]
    for piece in cut:
        body = fit(piece)
        assert len(body) <= MAX_EVENT_BYTES
        assert sandbox_word_codec.decode(body) == piece


async def test_a_batch_that_is_too_large_is_refused(monkeypatch, outbox):
    """A batch beyond the store's bound is an error of the SDK's, and nothing of it is said."""
    monkeypatch.setattr(transcript_pieces, "MAX_BATCH_BYTES", 100)
    with pytest.raises(BatchTooLarge):
        await outbox.store.append(SDK_KEY, [{"type": "user", "text": "x" * 200}])
    assert outbox.said == []


async def test_transcripts_are_never_left_out():
    """Above the soft bound, where passing things are left out, the transcript is said all the same;
    above the hard one it waits for room."""
    outbox = Outbox(soft=10, hard=1000)
    await outbox.store.append(SDK_KEY, [{"type": "user", "text": "x" * 2000}])
    assert len(outbox.said) == 1
    waiting = asyncio.create_task(outbox.store.append(SDK_KEY, [{"type": "user"}]))
    await asyncio.sleep(0)
    assert len(outbox.said) == 1
    outbox.acknowledge(1)
    await waiting
    assert len(outbox.said) == 2


async def test_a_name_that_would_be_cut_is_refused(outbox):
    """A key that is too long to cross the link is no other key."""
    with pytest.raises(ValueError, match="too long"):
        await outbox.store.append({**SDK_KEY, "subpath": "x" * 5000}, [{"type": "user"}])


async def test_an_answer_that_breaks_off(outbox):
    """Whoever waits for an answer that is cut off is told so, and late pieces find nobody."""
    outbox.answers = None
    asking = asyncio.create_task(outbox.store.load(SDK_KEY))
    await asyncio.sleep(0)
    [asked] = outbox.all(TranscriptAsked)
    sink = outbox.store.sink_for(asked.ask_id)
    sink.take(b'{"type":')
    sink.fail()
    with pytest.raises(StoreUnavailable):
        await asking
    assert outbox.store.sink_for(asked.ask_id) is None


async def test_a_file_system_that_is_full(files, outbox, monkeypatch):
    """What cannot be written is refused to the transfer, and the resumption fails with it."""
    outbox.answers[("load", "")] = b"{}\n"

    def full(_file, _chunk):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transcript_files, "_write", full)
    monkeypatch.setattr(outbox, "_answer", lambda asked: _give(outbox, asked))
    with pytest.raises(OSError, match="space"):
        await files.restore(SESSION)


def _give(outbox, asked) -> None:
    with pytest.raises(Unfit):
        outbox.store.sink_for(asked.ask_id).take(b"{}\n")


async def test_restoring(files, outbox):
    """The main transcript and those of subagents are where the CLI looks for them; paths that lead
    out are not followed; and what is restored counts as said."""
    line = as_lines([row("user")]).encode()
    described = b'{"type":"agent_metadata","agentType":"x"}\n'
    outbox.answers = {
        ("load", ""): line * 2,
        ("subkeys", ""): b'"subagents/agent-1"\n"../../../evil"\n"/evil"\n""\n',
        ("load", "subagents/agent-1"): described + line,
        ("load", "../../../evil"): line,
        ("load", "/evil"): line,
        ("summaries", ""): b"",
    }
    await files.restore(SESSION)
    main = files.main(SESSION)
    assert main.read_bytes() == line * 2
    inside = sorted(path.name for path in main.with_suffix("").rglob("*") if path.is_file())
    assert inside == ["agent-1.jsonl", "agent-1.meta.json"]
    assert not list(main.parents[3].rglob("*evil*"))
    assert not await files.sync()
    assert outbox.all(TranscriptReplaced) == []


async def test_nothing_to_restore(files, outbox):
    """An agent session that the store does not have, or that is no name, is told as such."""
    for name in (SESSION, "../x", ""):
        with pytest.raises(NoSuchTranscript):
            await files.restore(name)
    assert len(outbox.all(TranscriptAsked)) == 1


async def test_repair_after_a_mirror_error(files, outbox):
    """After an error of the mirror all of the session is said anew, once, without what the CLI
    keeps to itself and without what is no line."""
    main = files.main(SESSION)
    main.parent.mkdir(parents=True)
    lines = as_lines([row("user"), {"type": "api-request", "x": 1}, row("assistant")])
    main.write_text(lines + '{"half')
    files.distrust(SESSION)
    assert await files.sync()
    assert [event.key.agent_session for event in outbox.all(TranscriptReplaced)] == [SESSION]
    said = "".join(piece.text for piece in outbox.all(TranscriptPiece))
    assert said == as_lines([row("user"), row("assistant")])
    assert not await files.sync()


async def test_lines_that_were_never_told_are_found(files, outbox, monkeypatch):
    """Also where no error was told: the files themselves say that something is missing."""
    monkeypatch.setattr(transcript_files, "SETTLE_SECONDS", 0.01)
    main = files.main(SESSION)
    main.parent.mkdir(parents=True)
    main.write_text(as_lines([row("user")]))
    assert await files.sync()
    main.write_text(as_lines([row("user"), row("assistant")]))
    key = {"project_key": files.key(SESSION).project, "session_id": SESSION}
    await outbox.store.append(key, [row("assistant")])
    assert not await files.sync()


async def test_a_long_file_is_said_in_several_batches(files, outbox, monkeypatch):
    """A file of any length is repaired: the first batch replaces, the others follow."""
    monkeypatch.setattr(transcript_files, "BATCH_CHARS", 300)
    main = files.main(SESSION)
    main.parent.mkdir(parents=True)
    main.write_text(as_lines([row("user")] * 5))
    files.distrust(SESSION)
    await files.sync()
    assert len(outbox.all(TranscriptReplaced)) == 1
    assert len(outbox.all(TranscriptPiece)) > 1
    assert "".join(p.text for p in outbox.all(TranscriptPiece)) == main.read_text()


@pytest.mark.parametrize("name", ["no-session", "\x01", "x" * 200, "\udcff"])
async def test_files_of_somebody_else(files, outbox, monkeypatch, name):
    """What the CLI would not name so is not said: the control plane would stop the sandbox."""
    monkeypatch.setattr(transcript_files, "SETTLE_SECONDS", 0.01)
    folder = files.main(SESSION).parent
    (folder / SESSION).mkdir(parents=True)
    for path in (folder / f"{name}.jsonl", folder / SESSION / f"\x02{name}.jsonl"):
        path.write_text(as_lines([row("user")]))
    assert not await files.sync()
    assert outbox.said == []


async def test_a_file_that_cannot_be_said(files, outbox, monkeypatch):
    """A file that a tool spoilt is left as it was held, and keeps no other one from being
    repaired."""
    monkeypatch.setattr(transcript_files, "SETTLE_SECONDS", 0.01)
    other = f"0{SESSION[1:]}"
    files.main(SESSION).parent.mkdir(parents=True)
    files.main(SESSION).write_text(as_lines([row("user")]))
    spoilt = row("user") | {"timestamp": "0001-01-01T00:00:00+14:00", "message": "x" * 4000}
    files.main(other).write_text(as_lines([spoilt]))
    monkeypatch.setattr(transcript_pieces, "MAX_BATCH_BYTES", 4000)
    assert await files.sync()
    assert [event.key.agent_session for event in outbox.all(TranscriptReplaced)] == [SESSION]
    assert [piece.key.agent_session for piece in outbox.all(TranscriptPiece)] == [SESSION]


async def test_nothing_comes_between_a_replacement_and_what_replaces(files, outbox):
    """While a repair waits for room nothing is said to be replaced: a line that comes meanwhile
    would take the place of the whole transcript."""
    key = files.key(SESSION)
    outbox._room.clear()
    repair = asyncio.create_task(outbox.store.say(key, "{}\n", [{}], replaces=True))
    await asyncio.sleep(0)
    assert outbox.said == []
    outbox._room.set()
    await repair
    assert [type(event) for event in outbox.said] == [TranscriptReplaced, TranscriptPiece]


def test_what_is_pending_is_put_off():
    """The CLI is told to ask again; of its neighbours those that never ran get a result."""
    entries = [
        row("assistant", use("old"), uuid="u0", message_id="m0"),
        row("assistant", use("a"), uuid="u1"),
        row("assistant", use("b"), uuid="u2"),
        row("assistant", use("c"), uuid="u3"),
        row("user", result("a")),
    ]
    found = continuation(entries, "b")
    assert found is not None
    assert found.deferral["parentUuid"] == "u2"
    assert found.deferral["attachment"]["toolInput"] == {"command": "ls"}
    [other] = found.results
    assert other["message"]["content"][0]["tool_use_id"] == "c"
    assert other["parentUuid"] == "u3"


@pytest.mark.parametrize("tool_use_id", ["a", "unknown"])
def test_what_was_answered_is_not_asked_again(tool_use_id):
    """A use of a tool that has its result, or is not there, is never put off: it runs once."""
    entries = [row("assistant", use("a")), row("user", result("a"))]
    assert continuation(entries, tool_use_id) is None


async def test_a_deferral_stays_in_the_sandbox(files, outbox):
    """What makes the CLI ask again is not told to the store, by a repair neither."""
    main = files.main(SESSION)
    main.parent.mkdir(parents=True)
    main.write_text(as_lines([row("assistant", use("a"))]))
    assert await files.put_off(SESSION, "a")
    assert "hook_deferred_tool" in main.read_text()
    files.distrust(SESSION)
    assert await files.sync()
    assert all("hook_deferred" not in piece.text for piece in outbox.all(TranscriptPiece))


def test_the_project_is_the_workspaces(files, tmp_path):
    """Keys are those that the CLI's own folders have."""
    assert files.key(SESSION).project == project_key_for_directory(str(tmp_path / "w"))


async def test_todos_come_from_the_transcript(files):
    """Only lines that may be of the to-do list are looked at."""
    main = files.main(SESSION)
    main.parent.mkdir(parents=True)
    created = {**row("user", result("t")), "toolUseResult": {"task": {"id": "1", "subject": "x"}}}
    main.write_text(as_lines([row("user"), created]) + 'no JSON "TaskList"\n')
    assert list(files.todo_entries(SESSION)) == [json.loads(json.dumps(created)), {}]
