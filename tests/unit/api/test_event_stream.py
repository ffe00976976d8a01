"""The chat's frames as server-sent events. The real server's part is tested with real sockets."""

from contextlib import aclosing

import msgspec
import pytest

from orchestrator.accounts.ports import SignInId
from orchestrator.accounts.service import Principal
from orchestrator.api.event_stream import EventStream, resume_point
from orchestrator.api.settings import ApiSettings
from orchestrator.api.streams import StreamPlaces
from orchestrator.protocol.chat import Resume
from orchestrator.protocol.sandbox_events import TurnEnded
from orchestrator.testing.session_world import ANNA, World, eventually


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (None, Resume()),
        ("", Resume()),
        ("abc:12", Resume(seq=12, epoch="abc")),
        ("12", Resume(seq=12)),
        ("abc:", Resume()),
        ("abc:-1", Resume()),
        ("abc:1e9", Resume()),
        ("abc:" + "9" * 40, Resume()),
        ("x" * 500 + ":1", Resume()),
        ("abc:²", Resume()),
    ],
)
def test_last_event_id_is_read_leniently(said, meant):
    """What cannot be ours means from the start; nothing that a client sends is an error."""
    assert resume_point(said) == meant


class Welcome:
    """Accounts, as far as a stream asks them."""

    def __init__(self) -> None:
        self.welcome = True

    async def still_welcome(self, _principal):
        return self.welcome


PRINCIPAL = Principal(
    user=ANNA.id, name=ANNA.name, role="user", sign_in=SignInId("s"), version=1, expires_at=1e12
)


def stream_of(world, session, accounts=None, settings=None):
    return EventStream(
        session,
        principal=PRINCIPAL,
        actor=ANNA,
        sessions=world.sessions,
        accounts=accounts or Welcome(),
        settings=settings or ApiSettings(keep_alive_seconds=0.05, recheck_seconds=0.02),
    )


def frame_in(message):
    fields = dict(line.split(": ", 1) for line in message.decode().strip().split("\n"))
    return fields, msgspec.json.decode(fields["data"]) if "data" in fields else None


async def collected(stream, places, until, resume=None):
    """Messages up to the first one that has `until` in it."""
    found = []
    async with aclosing(stream.messages(resume or Resume(), places)) as messages:
        async for message in messages:
            found.append(message)
            if until in message:
                return found
    return found


async def test_frames_have_an_id_to_resume_by():
    """Each message is one frame with `id: epoch:seq`; the next connection goes on after it."""
    world, places = World(), StreamPlaces(2)
    session = (await world.create()).id
    first = await collected(stream_of(world, session), places, b"snapshot")
    fields, snapshot = frame_in(first[-1])
    assert fields["id"] == f"{snapshot['epoch']}:{snapshot['seq']}"
    await world.say(session, "hello")
    await eventually(lambda: any(isinstance(e, TurnEnded) for e in world.logged(session)))
    resume = resume_point(fields["id"])
    later = await collected(stream_of(world, session), places, b"turn_ended", resume)
    _, events = frame_in(later[1])
    assert events["type"] == "events"
    assert events["events"][0]["seq"] == snapshot["seq"] + 1
    await world.sessions.close()


async def test_a_quiet_stream_is_kept_alive_and_ends_with_the_welcome():
    """Comments come while nothing happens; once the user is out, an `over` event ends it."""
    world, places, accounts = World(), StreamPlaces(1), Welcome()
    session = (await world.create()).id
    settings = ApiSettings(keep_alive_seconds=0.01, recheck_seconds=0.05)
    found = []
    async for message in stream_of(world, session, accounts, settings).messages(Resume(), places):
        found.append(message)
        if message.startswith(b":"):
            accounts.welcome = False
    assert any(message.startswith(b":") for message in found)
    assert found[-1].startswith(b"event: over")
    with places.place(ANNA.id):
        pass  # its place is free again
    await world.sessions.close()


async def test_a_shutdown_ends_the_stream():
    """Who follows by events is told as well."""
    world = World()
    session = (await world.create()).id
    stream = stream_of(world, session).messages(Resume(), StreamPlaces(1))
    async for message in stream:
        if b"snapshot" in message:
            await world.sessions.close()
        last = message
    assert b"over" in last
    assert b"shutting down" in last
