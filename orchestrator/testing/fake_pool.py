"""A pool in memory, whose sandboxes are fakes. It claims fairly, like the real one.

Not for what only containers can show: memory, time to start, what the host can bear.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from orchestrator.protocol.ids import ProfileName, SandboxId, SessionId
from orchestrator.sessions.errors import NoSandboxFree, ShuttingDown, UnknownProfile
from orchestrator.testing.fake_sandbox import FakeSandbox


class FakePool:
    """Sandboxes made on demand up to `size`; those who come when it is reached wait in order.

    `made` keeps every sandbox; `most_at_once` proves that the ceiling held; `spares` is what `shed`
    can give up, and `shed_asked` how many it was asked for in all.
    """

    def __init__(
        self,
        *,
        size: int = 2,
        queue_limit: int = 100,
        patience: float = 30.0,
        retry_after: int = 5,
        profiles: tuple[str, ...] = ("default",),
        destroy_seconds: float = 0.0,
        transcripts: bool = True,
    ) -> None:
        self._size = size
        self._queue_limit = queue_limit
        self._patience = patience
        self._retry_after = retry_after
        self._profiles = profiles
        self._destroy_seconds = destroy_seconds
        self._transcripts = transcripts
        self._left: set[FakeSandbox] = set()
        self._waiting: deque[tuple[asyncio.Future[FakeSandbox], Callable[[int], None]]] = deque()
        self._closed = False
        self.live: set[FakeSandbox] = set()
        self.made: list[FakeSandbox] = []
        self.most_at_once = 0
        self.spares = 0
        self.shed_asked = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def claim(
        self,
        profile: ProfileName,
        *,
        session: SessionId,
        on_place: Callable[[int], None],
        used_tokens: int = 0,
    ) -> FakeSandbox:
        if self._closed:
            raise ShuttingDown
        if profile not in self._profiles:
            raise UnknownProfile
        if len(self.live) < self._size and not self._waiting:
            sandbox = self._make()
        else:
            sandbox = await self._wait(on_place)
        sandbox.session, sandbox.used_tokens = session, used_tokens
        return sandbox

    async def adopt(
        self, sandbox: SandboxId, *, session: SessionId, held: int, used_tokens: int = 0
    ) -> FakeSandbox | None:
        found = next((one for one in self._left if one.id == sandbox), None)
        if found is None or found.session != session or found.ending is not None:
            return None
        self._left.discard(found)
        found.used_tokens = used_tokens
        found.reconnect(held)
        return found

    async def release_unadopted(self) -> None:
        left, self._left = self._left, set()
        for sandbox in left:
            await sandbox.destroy()

    def shed(self, count: int) -> int:
        self.shed_asked += count
        given = min(count, self.spares)
        self.spares -= given
        return given

    def restart(self) -> None:
        """The control plane was killed and is started anew. Its sandboxes outlived it; whoever held
        them hears nothing more, and those who waited in line are gone."""
        for future, _ in self._waiting:
            future.cancel()
        self._waiting.clear()
        self._left = set(self.live)
        for sandbox in self._left:
            sandbox.cut_off()

    def resize(self, size: int) -> None:
        """Change the ceiling, live."""
        self._size = size
        self._serve()

    async def close(self) -> None:
        self._closed = True
        for future, _ in self._waiting:
            if not future.done():
                future.set_exception(ShuttingDown())
        for sandbox in list(self.live):
            await sandbox.destroy()

    async def _wait(self, on_place: Callable[[int], None]) -> FakeSandbox:
        if len(self._waiting) >= self._queue_limit:
            raise NoSandboxFree(retry_after=self._retry_after)
        future: asyncio.Future[FakeSandbox] = asyncio.get_running_loop().create_future()
        entry = (future, on_place)
        self._waiting.append(entry)
        on_place(len(self._waiting))
        done, _ = await self._settled(entry)
        if not done:
            self._leave(entry)
            raise NoSandboxFree(retry_after=self._retry_after)
        return future.result()

    async def _settled(
        self, entry: tuple[asyncio.Future[FakeSandbox], Callable[[int], None]]
    ) -> tuple[set[asyncio.Future[FakeSandbox]], set[asyncio.Future[FakeSandbox]]]:
        try:
            return await asyncio.wait([entry[0]], timeout=self._patience)
        except asyncio.CancelledError:
            self._leave(entry)
            if entry[0].done() and not entry[0].exception():
                await entry[0].result().destroy()
            raise

    def _leave(self, entry: tuple[asyncio.Future[FakeSandbox], Callable[[int], None]]) -> None:
        if entry in self._waiting:
            self._waiting.remove(entry)
            self._tell_places()

    def _serve(self) -> None:
        while self._waiting and len(self.live) < self._size and not self._closed:
            future, _ = self._waiting.popleft()
            future.set_result(self._make())
        self._tell_places()

    def _tell_places(self) -> None:
        for place, (_, on_place) in enumerate(self._waiting, start=1):
            on_place(place)

    def _make(self) -> FakeSandbox:
        sandbox = FakeSandbox(
            SandboxId(f"fake-{len(self.made) + 1}"),
            destroy_seconds=self._destroy_seconds,
            on_destroyed=self._destroyed,
            transcripts=self._transcripts,
        )
        self.made.append(sandbox)
        self.live.add(sandbox)
        self.most_at_once = max(self.most_at_once, len(self.live))
        return sandbox

    def _destroyed(self, sandbox: FakeSandbox) -> None:
        self.live.discard(sandbox)
        self._left.discard(sandbox)
        self._serve()
