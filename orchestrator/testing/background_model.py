"""A scripted model on a thread of its own: for tests and benches that drive other processes."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.testing.scripted_model import Pace, Script, ScriptedModel

START_LIMIT = 20.0


@contextmanager
def background_model(
    *, require_key: str | None = None, pace: Pace | None = None, script: Script | None = None
) -> Iterator[ScriptedModel]:
    """A started one; its `url` can be called from any process of this machine."""
    loop = asyncio.new_event_loop()
    model = ScriptedModel(require_key=require_key, pace=pace or Pace(), script=script)
    ready, over = threading.Event(), asyncio.Event()

    async def live() -> None:
        async with model:
            ready.set()
            await over.wait()

    thread = threading.Thread(
        target=lambda: loop.run_until_complete(live()), name="scripted-model", daemon=True
    )
    thread.start()
    if not ready.wait(START_LIMIT):
        raise RuntimeError("The scripted model did not start.")
    try:
        yield model
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(START_LIMIT)
        loop.close()
