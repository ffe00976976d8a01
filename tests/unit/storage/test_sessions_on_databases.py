"""The rules on the real databases."""

import asyncio

from orchestrator.protocol.chat import End
from orchestrator.protocol.control_events import SandboxAssigned
from orchestrator.protocol.events import event_codec
from orchestrator.protocol.sandbox_events import TextWritten, TurnEnded
from orchestrator.storage.checkpoint_store import PiccoloCheckpointStore
from orchestrator.storage.event_log import PiccoloEventLog
from orchestrator.storage.session_store import PiccoloSessionStore
from orchestrator.storage.transcript_store import PiccoloTranscriptStore
from orchestrator.testing.session_world import ANNA, World


async def test_twenty_sessions_at_once(database_place):
    """Twenty sessions at once on two sandboxes and one database: none fails, all are in the log."""
    async with database_place.open() as database:
        world = World(size=2)
        world.store, world.log = PiccoloSessionStore(database), PiccoloEventLog(database)
        world.transcripts = PiccoloTranscriptStore(database)
        world.checkpoints = PiccoloCheckpointStore(database)
        world.sessions = world.new_process()

        async def whole_session(number):
            session = await world.create(wait=False)
            await world.say(session.id, f"!say 200 words\n{number}")
            async with world.browser(session.id) as browser:
                await browser.until(lambda b: b.of(TurnEnded), seconds=20)
                await world.command(session.id, End())
            return session.id

        ids = await asyncio.gather(*(whole_session(number) for number in range(20)))
        page = await world.sessions.page(ANNA, limit=50, cursor=None)
        assert {view.id for view in page.sessions} == set(ids)
        assert {view.state for view in page.sessions} == {"ended"}
        for session_id in ids:
            events, earlier = await world.sessions.history(ANNA, session_id, before=None, limit=100)
            texts = [event_codec.decode(bytes(e.event)) for e in events]
            assert len([text for text in texts if isinstance(text, TextWritten)]) == 2
            assert not earlier
        await world.sessions.close()


async def test_restart_on_the_same_database(database_place):
    """A conversation goes on in the next process, in another sandbox, with what it had before."""
    async with database_place.open() as database:
        world = World()
        world.store, world.log = PiccoloSessionStore(database), PiccoloEventLog(database)
        world.transcripts = PiccoloTranscriptStore(database)
        world.checkpoints = PiccoloCheckpointStore(database)
        world.sessions = world.new_process()
        session = await world.create()
        async with world.browser(session.id) as browser:
            await world.say(session.id, "!say 3 words")
            await browser.until(lambda b: b.of(TurnEnded))
        await world.sessions.close()
        record = await world.store.get(session.id)
        assert (record.state, record.agent_session_id != "") == ("hibernated", True)
        assert [one.id for one in await world.checkpoints.page(session.id, limit=5)]
        world.sessions = world.new_process()
        await world.sessions.start()
        async with world.browser(session.id) as browser:
            await browser.until(lambda b: b.of(SandboxAssigned)[-1].reason == "woken", seconds=20)
            await world.say(session.id, "!say 3 words", client_id="second")
            await browser.until(lambda b: len(b.of(TurnEnded)) == 2, seconds=20)
            assert [turn.outcome for turn in browser.of(TurnEnded)] == ["completed"] * 2
        await world.sessions.close()
