"""Where the code of one policy runs: a thread of its own, so that what hangs is left behind.

Code that blocks holds up the calls behind it; code that waits does not. A call that does not come
back in time is given up, and beyond so many of those the next are refused at once. (Code that keeps
Python's interpreter lock stops the whole shim; the CLI then refuses by itself, see `hooks`.)
"""

import asyncio
import concurrent.futures
import contextlib
import inspect
import threading
from collections.abc import Callable
from typing import Any

MAX_CALLS = 32
"""Calls that have not come back. Each holds what it is to judge."""


class Busy(RuntimeError):
    """Too many calls have not come back."""


class PolicyThread:
    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._calls: set[concurrent.futures.Future[Any]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._live, name=f"policy-{name}", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[], Any], *, seconds: float) -> Any:
        """What `work` returns, awaited if it can be. Raises TimeoutError, Busy, and as `work`."""
        if len(self._calls) >= MAX_CALLS:
            raise Busy
        call: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._calls.add(call)
        self._loop.call_soon_threadsafe(self._begin, work, call)
        async with asyncio.timeout(seconds):
            return await asyncio.wrap_future(call)

    def stop(self) -> None:
        """After the call that is running. One that hangs ends with the process."""
        with contextlib.suppress(RuntimeError):  # it has stopped already
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _begin(self, work: Callable[[], Any], call: "concurrent.futures.Future[Any]") -> None:
        if call.set_running_or_notify_cancel():
            task = self._loop.create_task(self._finish(work, call))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._calls.discard(call)

    async def _finish(
        self, work: Callable[[], Any], call: "concurrent.futures.Future[Any]"
    ) -> None:
        try:
            result = work()
            call.set_result(await result if inspect.isawaitable(result) else result)
        except BaseException as error:  # noqa: BLE001 - told to whoever called
            call.set_exception(error)
        finally:
            self._calls.discard(call)

    def _live(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.get_loop().run_forever()
