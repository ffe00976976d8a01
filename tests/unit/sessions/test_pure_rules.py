"""The pure parts: states, view, open blocks, titles, cursors, the ring."""

import contextlib
import itertools
import time
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.protocol.chat import SequencedEvent, SessionState, SessionView
from orchestrator.protocol.control_events import (
    PermissionResolved,
    PromptAccepted,
    PromptLetGo,
    PromptRemoved,
    PromptUnfinished,
    RecoveryStopped,
    SandboxAssigned,
    SandboxLost,
    SessionEnded,
    SessionHibernated,
    TurnStarted,
    UsageMetered,
)
from orchestrator.protocol.event_parts import Usage as Tokens
from orchestrator.protocol.sandbox_events import (
    BlockDelta,
    PermissionRequested,
    PermissionWithdrawn,
    TextWritten,
    TurnEnded,
)
from orchestrator.sessions.cursors import decode_cursor, encode_cursor
from orchestrator.sessions.errors import BadCursor
from orchestrator.sessions.journal.open_blocks import MAX_BLOCKS, OpenBlocks
from orchestrator.sessions.journal.reports import MAX_REPORTS, Reports
from orchestrator.sessions.journal.room import Ring, in_frames
from orchestrator.sessions.view.standing import Standing, advanced
from orchestrator.sessions.view.states import OVER, STEPS, Step, is_over, step
from orchestrator.sessions.view.titles import MAX_TITLE, UNTITLED, title_from
from orchestrator.sessions.view.view import fold, withdrawals

STATES = get_args(SessionState)
VIEW = SessionView(
    id="s",
    title="t",
    profile="p",
    state="waiting",
    created_at="2026",
    updated_at="2026",
)
KEYS = st.sampled_from(["a", "b", "c"])
EVENTS = st.one_of(
    KEYS.map(lambda k: TurnStarted(turn_id=k, client_id=k)),
    KEYS.map(lambda k: TurnEnded(turn_id=k, outcome="completed")),
    KEYS.map(lambda k: PromptAccepted(client_id=k, text="x", by="y", queued=True)),
    KEYS.map(lambda k: PromptRemoved(client_id=k)),
    KEYS.map(lambda k: PermissionRequested(permission_id=k, tool_name="x", input={})),
    KEYS.map(lambda k: PermissionResolved(permission_id=k, choice="allow", by="y")),
    KEYS.map(lambda k: PermissionWithdrawn(permission_id=k)),
    st.just(SandboxAssigned(sandbox_id="box")),
    st.just(SandboxLost(tag="t", sentence="s")),
    st.just(SessionHibernated(reason="idle", sentence="s")),
    st.just(RecoveryStopped(deaths=3, sentence="s")),
    KEYS.map(lambda k: PromptUnfinished(client_id=k, text="x", by="y", sentence="s")),
    KEYS.map(lambda k: PromptLetGo(client_id=k, by="y")),
    st.just(SessionEnded(tag="ended_by_user", sentence="s")),
)


@given(st.lists(st.sampled_from(get_args(Step))))
def test_over_is_over(steps):
    """Whatever happens, a session that is over stays as it ended, and no state is unknown."""
    state = "waiting"
    for what in steps:
        following = step(state, what)
        assert following in STATES
        assert state not in OVER or following == state
        state = following


def test_every_state_can_be_reached_and_left():
    """Every state is reached by some step, and every one that is not over is left by one."""
    assert set(STEPS.values()) == set(STATES) - {"waiting"}
    assert {state for state, _ in STEPS} == set(STATES) - OVER


def test_only_the_way_to_the_end_leads_out_of_ending():
    """A session that is ending neither runs nor asks again."""
    assert {step("ending", what) for what in get_args(Step)} == {"ending", "ended", "failed"}


@given(st.lists(EVENTS, max_size=40))
def test_view_never_contradicts_itself(events):
    """In any order of events: over has nothing open, idle has no turn, asking has a question."""
    view = VIEW
    for event in events:
        view = fold(view, event)
        if is_over(view.state):
            assert not (view.queue)
            assert not (view.permissions)
            assert not (view.questions)
            assert not (view.turn_id)
            assert view.ending is not None
        if view.state == "asking":
            assert view.permissions or view.questions
        if view.state == "running":
            assert view.turn_id is not None
        ids = [p.permission_id for p in view.permissions]
        assert len(ids) == len(set(ids))


@given(st.lists(EVENTS, max_size=40))
def test_withdrawals_close_whatever_is_open(events):
    """After its withdrawals a view has no open question."""
    view = VIEW
    for event in events:
        view = fold(view, event)
    for event in withdrawals(view):
        view = fold(view, event)
    assert not view.permissions
    assert view.state != "asking"


def test_events_without_news_keep_the_very_view():
    """An event that says nothing new about the session leaves the same object."""
    view = fold(VIEW, SandboxAssigned(sandbox_id="box"))
    for event in (
        TextWritten(message_id="m", index=0, text="x"),
        PermissionWithdrawn(permission_id="none"),
        TurnEnded(turn_id="none", outcome="failed"),
        PromptRemoved(client_id="none"),
    ):
        assert fold(view, event) is view


def test_standing_finds_what_is_open():
    """From the events alone: the turn that runs with its prompt, and the question that is open."""
    events = [
        PromptAccepted(client_id="c", text="x", by="y", queued=True),
        SandboxAssigned(sandbox_id="box"),
        TurnStarted(turn_id="t", client_id="c"),
        UsageMetered(model="m", usage=Tokens(), cost_usd=5.0),
        PermissionRequested(permission_id="a", tool_name="x", input={}),
        PermissionRequested(permission_id="b", tool_name="x", input={}),
        PermissionResolved(permission_id="a", choice="allow", by="y"),
    ]
    standing = Standing(view=VIEW)
    for event in events:
        standing = advanced(standing, event)
    view = standing.view
    assert (view.turn_id, view.state, view.cost_usd) == ("t", "asking", 5.0)
    assert [p.permission_id for p in view.permissions] == ["b"]
    assert standing.prompt.text == "x"
    assert [answer.permission_id for answer in standing.answers] == ["a"]


def delta(message_id="m", index=0, *, offset=0, text="x"):
    return BlockDelta(message_id=message_id, index=index, kind="text", offset=offset, text=text)


@given(st.text(min_size=1), st.data())
def test_text_so_far_is_what_was_sent(text, data):
    """However a text is cut, and whatever is sent twice, its text so far is the text."""
    blocks = OpenBlocks(max_chars=10_000)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    edges = [0, *cuts, len(text)]
    for start, end in itertools.pairwise(edges):
        piece = delta(offset=start, text=text[start:end])
        for _ in range(data.draw(st.integers(1, 2))):
            blocks.take(piece)
    [whole] = blocks.deltas()
    assert (whole.offset, whole.text) == (0, text)


def test_closed_blocks_are_forgotten():
    """A durable event closes its own block alone; the end of the turn closes all."""
    blocks = OpenBlocks(max_chars=100)
    for index in range(3):
        blocks.take(delta(index=index))
    blocks.take(TextWritten(message_id="m", index=1, text="x"))
    assert [d.index for d in blocks.deltas()] == [0, 2]
    blocks.take(TurnEnded(turn_id="t", outcome="completed"))
    assert not blocks


def test_gaps_are_ignored():
    """A delta that does not join what is known is left out rather than shown in the wrong place."""
    blocks = OpenBlocks(max_chars=100)
    blocks.take(delta(offset=5, text="late"))
    assert not blocks
    blocks.take(delta(text="ab"))
    blocks.take(delta(offset=3, text="d"))
    assert blocks.deltas()[0].text == "ab"


def test_overlaps_add_what_is_new_and_copy_nothing():
    """A delta at the end of a large block costs its own length: thousands are done at once."""
    blocks = OpenBlocks(max_chars=2 << 20)
    blocks.take(delta(text="\U0001f600" * (1 << 20)))
    began = time.process_time()
    for _ in range(5_000):
        blocks.take(delta(offset=(1 << 20) - 1, text="x"))
    assert time.process_time() - began < 1
    blocks.take(delta(offset=(1 << 20) - 1, text="xy"))
    blocks.take(delta(offset=-1, text="z"))
    assert blocks.deltas()[0].text == "\U0001f600" * (1 << 20) + "y"


@given(st.lists(st.tuples(st.integers(0, 200), st.text(max_size=50)), max_size=300))
def test_open_blocks_are_bounded(writes):
    """Whatever a sandbox sends, the text kept and the number of blocks stay within bounds."""
    blocks = OpenBlocks(max_chars=100)
    for index, text in writes:
        blocks.take(delta(index=index, text=text))
        deltas = blocks.deltas()
        assert len(deltas) <= MAX_BLOCKS
        assert sum(len(d.text) for d in deltas) <= 100


@pytest.mark.parametrize(
    ("prompt", "title"),
    [
        ("Fix it", "Fix it"),
        ("\n\n  a\tb  \nsecond", "a b"),
        ("x" * 61, "x" * 59 + "…"),
        ("x" * 60, "x" * 60),
        ("a\x00\x1b[31mb", "a [31mb"),
        ("   ", UNTITLED),
        ("\u202e\u2066", UNTITLED),
    ],
)
def test_title_is_the_first_line(prompt, title):
    """The title is the first line with something on it, short and printable."""
    assert title_from(prompt) == title


@given(st.text())
def test_title_is_always_fit_to_show(prompt):
    """Whatever the prompt, the title is not empty, printable and at most sixty characters."""
    title = title_from(prompt)
    assert 1 <= len(title) <= MAX_TITLE
    assert title.isprintable()


@given(st.text(), st.text())
def test_cursor_comes_back(created_at, session):
    """A cursor says what was put into it."""
    try:
        cursor = encode_cursor(created_at, session)
    except UnicodeEncodeError:
        return
    assert decode_cursor(cursor) == (created_at, session)


@given(st.text(max_size=40))
def test_made_up_cursor_is_refused(text):
    """Whatever is sent as a cursor, the worst is BadCursor."""
    with contextlib.suppress(BadCursor):
        decode_cursor(text)


def sequenced(seq, size=2):
    return SequencedEvent(seq=seq, at="", event=msgspec.Raw(b"x" * size))


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(-2, 70))
def test_ring_has_no_gap(sizes, seq):
    """The ring gives everything after a seq, or says that it cannot; never a part."""
    ring = Ring(max_events=10, max_bytes=100)
    for number, size in enumerate(sizes, start=1):
        ring.add([sequenced(number, size)])
    missed = ring.after(seq, latest=len(sizes))
    if missed is not None:
        assert [event.seq for event in missed] == list(range(seq + 1, len(sizes) + 1))


@given(st.lists(st.integers(1, 50), max_size=60))
def test_frames_hold_everything_once(sizes):
    """Cutting a burst into frames loses nothing and repeats nothing."""
    events = [sequenced(n, size) for n, size in enumerate(sizes)]
    bundles = list(in_frames(events, max_bytes=100))
    assert [event for bundle in bundles for event in bundle] == events
    assert all(sum(len(bytes(e.event)) for e in bundle) < 150 for bundle in bundles)


def test_no_token_is_lost_in_a_full_inbox():
    """The gateway's reports are bounded in number, and their sum is whole."""
    reports = Reports()
    for _ in range(MAX_REPORTS * 3):
        reports.add_usage(UsageMetered(model="m", usage=Tokens(input_tokens=1), cost_usd=0.5))
    taken = reports.take()
    assert len(taken) == MAX_REPORTS
    assert sum(event.usage.input_tokens for event in taken) == MAX_REPORTS * 3
    assert sum(event.cost_usd for event in taken) == MAX_REPORTS * 1.5
    assert reports.take() == []
