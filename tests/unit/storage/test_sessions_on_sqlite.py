"""The rules on the real database."""

import asyncio

from orchestrator.protocol.chat import End
from orchestrator.protocol.events import event_codec
from orchestrator.protocol.sandbox_events import TextWritten, TurnEnded
from orchestrator.storage.database import open_database
from orchestrator.storage.event_log import PiccoloEventLog
from orchestrator.storage.session_store import PiccoloSessionStore
from orchestrator.testing.session_world import ANNA, World


async def test_twenty_sessions_at_once(tmp_path):
    """Twenty sessions at once on two sandboxes and one SQLite file: none fails, all are in the
    log."""
    async with open_database(tmp_path / "casemate.sqlite") as database:
        world = World(size=2)
        world.store, world.log = PiccoloSessionStore(database), PiccoloEventLog(database)
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


async def test_restart_on_the_same_file(tmp_path):
    """What was open when the process died is failed by the next one, and stays readable."""
    async with open_database(tmp_path / "casemate.sqlite") as database:
        world = World()
        world.store, world.log = PiccoloSessionStore(database), PiccoloEventLog(database)
        world.sessions = dead = world.new_process()
        session = await world.create()
        async with world.browser(session.id) as browser:
            await world.say(session.id, "!bash ls")
            await browser.until_state("asking")
        world.sessions = world.new_process()
        await world.sessions.start()
        view = await world.sessions.view(ANNA, session.id)
        assert (view.state, view.ending.tag) == ("failed", "control_plane_restarted")
        async with world.browser(session.id) as browser:
            assert browser.of(TurnEnded)[0].outcome == "failed"
        await dead.close()
