import asyncio
from typing import Any

import pytest
from shim.agent_client import AgentClients, AgentUnavailable

from orchestrator.protocol.sandbox_events import AgentDied


class Client:
    """A client whose CLI lives until it is closed or killed."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.gone = asyncio.Event()

    async def connect(self) -> None:
        if self.fails:
            raise AgentUnavailable("It did not start.")

    async def life(self) -> AgentDied:
        await self.gone.wait()
        return AgentDied(text="gone")

    async def close(self) -> None:
        self.gone.set()


def clients(first: Any) -> tuple[AgentClients, asyncio.Task[AgentDied]]:
    succession = AgentClients(first)
    return succession, asyncio.create_task(succession.death())


async def test_a_client_that_is_replaced_is_not_mourned():
    """The end of a client whose place another one takes is no death; that of the last one is."""
    first, second = Client(), Client()
    succession, death = clients(first)
    await asyncio.sleep(0)
    await succession.replace(second)
    await asyncio.sleep(0.01)
    assert first.gone.is_set()
    assert not death.done()
    second.gone.set()
    assert (await asyncio.wait_for(death, 5)).text == "gone"


async def test_a_client_that_cannot_take_the_place_is_a_death():
    """Where the next client does not start there is none any more, and that is told."""
    succession, death = clients(Client())
    await asyncio.sleep(0)
    with pytest.raises(AgentUnavailable):
        await succession.replace(Client(fails=True))
    assert (await asyncio.wait_for(death, 5)).text == "It did not start."


async def test_another_one_instead():
    """Where one cannot take the place another one may; then nobody died."""
    succession, death = clients(Client())
    await asyncio.sleep(0)
    instead = Client()
    await succession.replace(Client(fails=True), otherwise=lambda _why: instead)
    await asyncio.sleep(0.01)
    assert succession.current is instead
    assert not death.done()
    with pytest.raises(AgentUnavailable):
        await succession.replace(Client(fails=True), otherwise=lambda _why: Client(fails=True))
    assert (await asyncio.wait_for(death, 5)).text == "It did not start."


async def test_one_after_another():
    """Places can be taken again and again."""
    succession, death = clients(Client())
    for _ in range(3):
        await asyncio.sleep(0)
        await succession.replace(Client())
    await asyncio.sleep(0.01)
    assert not death.done()
    succession.current.gone.set()
    await asyncio.wait_for(death, 5)
