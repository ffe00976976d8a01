"""When the machine is short of memory: what is given up, in which order, and when no more."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.sessions.host.host_pressure import RELIEF, SHED_AT_ONCE, HostPressure, Shortage
from orchestrator.testing.fake_pool import FakePool
from orchestrator.testing.memory_checkpoints import MemoryHost

RESERVE = 1000


class Machine:
    """One with a few spare sandboxes and a few idle sessions."""

    def __init__(self, *, available: int | None, spares: int = 0, sessions: int = 0) -> None:
        self.host = MemoryHost(available)
        self.pool = FakePool()
        self.pool.spares = spares
        self.sessions = sessions
        self.asked = 0
        self.pressure = HostPressure(
            self.host,
            self.pool,
            hibernate_least_recent=self._hibernate,
            reserve_bytes=RESERVE,
        )

    async def _hibernate(self) -> bool:
        self.asked += 1
        self.sessions -= self.sessions > 0
        return self.sessions > 0


async def test_spares_go_first():
    """Spare sandboxes are given up before any session's, a few at a time."""
    machine = Machine(available=500, spares=SHED_AT_ONCE + 1, sessions=5)
    for _ in range(2):
        await machine.pressure.look()
    assert (machine.pool.spares, machine.asked) == (0, 0)
    await machine.pressure.look()
    assert machine.asked == 1


async def test_enough_memory_costs_nobody_anything():
    """With enough memory, or where it cannot be measured, nothing is given up."""
    for available in (RESERVE, 10 * RESERVE, None):
        machine = Machine(available=available, spares=5, sessions=5)
        await machine.pressure.look()
        assert (machine.pool.spares, machine.asked, machine.pressure.is_short) == (5, 0, False)


async def test_nothing_to_give_up_harms_nothing():
    """Where nobody is idle, the next look tries again."""
    machine = Machine(available=1)
    for _ in range(3):
        await machine.pressure.look()
    assert machine.asked == 3


async def test_failing_look_is_not_the_last():
    """A look that fails is followed by others."""
    machine = Machine(available=1)
    looked = asyncio.Event()

    def available() -> int:
        looked.set()
        raise RuntimeError("no")

    machine.host.available = available
    task = asyncio.create_task(machine.pressure.run())
    await looked.wait()
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


@given(st.lists(st.one_of(st.none(), st.integers(0, 3000)), max_size=30))
def test_shortage_does_not_flap(measures):
    """It begins below the reserve and ends only well above it."""
    shortage = Shortage(reserve=RESERVE)
    for available in measures:
        before, shortage = shortage.is_short, shortage.after(available)
        if shortage.is_short and not before:
            assert available < RESERVE
        if before and not shortage.is_short:
            assert available is None or available >= RESERVE * RELIEF
