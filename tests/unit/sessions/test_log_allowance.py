"""A session may write so much into the event log, and so fast, and no more."""

from orchestrator.protocol.sandbox_events import NoteWritten
from orchestrator.sessions.journal.log_allowance import LogAllowance
from orchestrator.sessions.limits import SessionLimits

LIMITS = SessionLimits(log_bytes=1000, log_burst_bytes=100, log_bytes_per_second=10)


def test_a_burst_and_its_refill():
    """A burst passes at once; what is beyond it has to wait for its time."""
    allowance = LogAllowance(LIMITS, now=0.0)
    assert allowance.spend(100, now=0.0)
    assert allowance.spend(50, now=5.0)
    assert not allowance.spend(20, now=6.0)


def test_the_total_is_never_refilled():
    """However slowly, no more than the total is written."""
    allowance = LogAllowance(LIMITS, now=0.0)
    assert all(allowance.spend(100, now=100.0 * i) for i in range(10))
    assert not allowance.spend(1, now=10_000.0)


async def test_a_talkative_sandbox_is_given_up(make_world):
    """A sandbox that fills the log ends its own session, which says why."""
    world = make_world(limits=SessionLimits(log_bytes=10_000))
    session = await world.create()
    async with world.browser(session.id) as browser:
        for _ in range(11):
            world.pool.made[0].say(NoteWritten(text="x" * 1000))
        await browser.until_state("failed")
        assert browser.view.ending.tag == "said_too_much"
