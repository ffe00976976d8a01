"""Refused hosts: counted, bounded, kept."""

import asyncio
import itertools

import msgspec

from orchestrator.protocol.control_events import EgressRefused
from orchestrator.protocol.events import event_codec
from orchestrator.sessions.journal.reports import MAX_REPORTS, Reports
from orchestrator.sessions.refused_hosts import RefusedHosts
from orchestrator.storage.refused_host_store import PiccoloRefusedHostStore
from orchestrator.testing.memory_audit import MemoryRefusedHostStore
from orchestrator.testing.session_world import ANNA


def refusal(host, *, port=443, tag="host_not_allowed", count=1):
    return EgressRefused(host=host, port=port, tag=tag, sentence="Blocked.", count=count)


def clock():
    ticks = itertools.count()
    return lambda: f"2026-01-01T00:00:00.{next(ticks):03}Z"


async def test_refusals_of_one_host_are_one_row():
    """By profile, host, port and tag, with the first and the last time."""
    async with RefusedHosts(MemoryRefusedHostStore(), now=clock()) as hosts:
        for count in (1, 4):
            hosts.add("default", refusal("a.test", count=count))
        hosts.add("default", refusal("a.test", port=80))
        hosts.add("other", refusal("a.test"))
        rows = hosts.rows()
    assert [(row.profile, row.port, row.count) for row in rows] == [
        ("other", 443, 1),
        ("default", 80, 1),
        ("default", 443, 5),
    ]
    assert rows[-1].first_at < rows[-1].last_at


async def test_made_up_names_push_out_the_oldest_of_their_own_profile():
    """Bounded, with the count of what was pushed out, and nobody else's rows are touched."""
    store = MemoryRefusedHostStore()
    async with RefusedHosts(store, now=clock(), most=10) as hosts:
        hosts.add("quiet", refusal("kept.test"))
        hosts.add("default", refusal("first.test"))
        for n in range(500):
            hosts.add("default", refusal(f"{n}.test"))
            hosts.add("default", refusal("often.test"))
        assert hosts.dropped == 492
        kept = {row.host for row in hosts.rows() if row.profile == "default"}
        assert len(kept) == 10
        assert "often.test" in kept
    assert len(store.hosts) == 11
    async with RefusedHosts(store, now=clock(), most=10) as hosts:
        assert hosts.dropped == 492
        assert {row.host for row in hosts.rows()} == kept | {"kept.test"}


async def test_what_was_counted_is_there_after_a_restart(database_place):
    """On the real databases, flushed as it goes and at the end."""
    async with database_place.open() as database:
        store = PiccoloRefusedHostStore(database)
        now = clock()
        async with RefusedHosts(store, now=now, most=250, flush_seconds=0.01) as hosts:
            for n in range(300):
                hosts.add("default", refusal(f"{n}.test"))
            async with asyncio.timeout(5):
                while len((await store.load())[0]) < 250:
                    await asyncio.sleep(0.01)
            hosts.add("default", refusal("299.test", count=9))
            expected = hosts.rows()
        async with RefusedHosts(store, now=now, most=250) as again:
            assert again.rows() == expected
            assert again.rows()[0].count == 10
            assert again.dropped == 50


async def test_a_store_that_fails_is_tried_again():
    """Nothing is lost, and nobody is kept waiting."""

    class Failing(MemoryRefusedHostStore):
        left = 2

        async def save(self, **what):
            if self.left:
                self.left -= 1
                raise OSError
            await super().save(**what)

    store = Failing()
    async with RefusedHosts(store, now=clock(), flush_seconds=0.01) as hosts:
        hosts.add("default", refusal("a.test"))
        async with asyncio.timeout(5):
            while not store.hosts:
                await asyncio.sleep(0.01)


async def test_long_names_are_cut():
    """Whatever a caller forgot to cut."""
    async with RefusedHosts(MemoryRefusedHostStore(), now=clock()) as hosts:
        hosts.add("default", refusal("x" * 10_000, tag="y" * 10_000))
        [row] = hosts.rows()
    assert len(row.host) == 255
    assert len(row.tag) <= 40


def test_a_session_hears_of_one_host_once_at_a_time():
    """What was not written down yet is summed by host; different ones are bounded."""
    reports = Reports()
    for _ in range(3):
        reports.add_refusal(refusal("a.test", count=2))
    assert reports.take() == [refusal("a.test", count=6)]
    for n in range(2 * MAX_REPORTS):
        reports.add_refusal(refusal(f"{n}.test"))
    taken = reports.take()
    assert len(taken) == MAX_REPORTS
    assert taken[-1] == refusal(f"{2 * MAX_REPORTS - 1}.test")
    assert reports.take() == []
    assert msgspec.json.encode(taken)


async def test_the_people_of_a_session_see_what_was_refused(world):
    """As an event of their session, in the log like others; a session that is gone is no error."""
    world.sessions.egress_refused("gone", refusal("a.test"))
    session = await world.create()
    async with world.browser(session.id) as browser:
        world.sessions.egress_refused(session.id, refusal("a.test", count=3))
        await browser.until(lambda b: b.of(EgressRefused) == [refusal("a.test", count=3)])
    events, _ = await world.sessions.history(ANNA, session.id, before=None, limit=50)
    assert any(isinstance(event_codec.decode(bytes(e.event)), EgressRefused) for e in events)
