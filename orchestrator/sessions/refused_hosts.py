"""Which hosts sandboxes wanted to reach and may not, counted for whoever writes the profiles.

Bounded: of each profile the hosts that were refused last. A sandbox that makes names up pushes
older ones out, and how many is counted.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

import msgspec

from orchestrator.protocol.control_events import EgressRefused
from orchestrator.protocol.ids import ProfileName

logger = logging.getLogger(__name__)

MAX_HOSTS = 1_000
"""Of one profile."""
FLUSH_SECONDS = 5.0
_LAST_TRY = 5.0
_LONGEST_HOST = 255
_LONGEST_TAG = 40

Key = tuple[str, int, str]
"""Host, port, tag: within one profile."""


class RefusedHost(msgspec.Struct, frozen=True, kw_only=True):
    """Times are RFC 3339 UTC with milliseconds."""

    profile: ProfileName
    host: str
    port: int
    tag: str
    count: int
    first_at: str
    last_at: str

    @property
    def key(self) -> Key:
        return self.host, self.port, self.tag


class RefusedHostStore(Protocol):
    async def load(self) -> tuple[list[RefusedHost], dict[ProfileName, int]]:
        """Those least recently refused first, and how many were pushed out, by profile."""

    async def save(
        self,
        *,
        changed: list[RefusedHost],
        gone: list[RefusedHost],
        dropped: dict[ProfileName, int],
    ) -> None:
        """In one transaction. `dropped` is the whole count of each profile that is named."""


class RefusedHosts:
    """An async context manager: entered it knows what was kept, left it keeps what is new."""

    def __init__(
        self,
        store: RefusedHostStore,
        *,
        now: Callable[[], str],
        most: int = MAX_HOSTS,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        self._store, self._now = store, now
        self._most, self._flush_seconds = most, flush_seconds
        self._hosts: dict[ProfileName, OrderedDict[Key, RefusedHost]] = {}
        self._dropped: dict[ProfileName, int] = {}
        self._changed: dict[tuple[ProfileName, Key], RefusedHost] = {}
        self._gone: dict[tuple[ProfileName, Key], RefusedHost] = {}
        self._recount: set[ProfileName] = set()
        self._flushing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        kept, self._dropped = await self._store.load()
        for host in kept:
            hosts = self._hosts.setdefault(host.profile, OrderedDict())
            hosts[host.key] = host
            if len(hosts) > self._most:
                self._push_out(host.profile, hosts)
        self._flushing = asyncio.create_task(self._flush_often(), name="refused-hosts")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._flushing
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_TRY):
                await self._flush()

    @property
    def dropped(self) -> int:
        """How many hosts were pushed out, of all profiles."""
        return sum(self._dropped.values())

    def rows(self) -> list[RefusedHost]:
        """Newest first."""
        found = [host for hosts in self._hosts.values() for host in hosts.values()]
        return sorted(found, key=lambda host: host.last_at, reverse=True)

    def add(self, profile: ProfileName, event: EgressRefused) -> None:
        """Count a refusal. Never blocks."""
        hosts = self._hosts.setdefault(profile, OrderedDict())
        host = self._counted(profile, event, hosts)
        hosts[host.key] = host
        hosts.move_to_end(host.key)
        self._changed[profile, host.key] = host
        self._gone.pop((profile, host.key), None)
        if len(hosts) > self._most:
            self._push_out(profile, hosts)

    def _counted(
        self, profile: ProfileName, event: EgressRefused, hosts: OrderedDict[Key, RefusedHost]
    ) -> RefusedHost:
        name, tag, at = event.host[:_LONGEST_HOST], event.tag[:_LONGEST_TAG], self._now()
        before = hosts.get((name, event.port, tag))
        if before is None:
            return RefusedHost(
                profile=profile,
                host=name,
                port=event.port,
                tag=tag,
                count=event.count,
                first_at=at,
                last_at=at,
            )
        return msgspec.structs.replace(before, count=before.count + event.count, last_at=at)

    def _push_out(self, profile: ProfileName, hosts: OrderedDict[Key, RefusedHost]) -> None:
        key, oldest = hosts.popitem(last=False)
        self._changed.pop((profile, key), None)
        self._gone[profile, key] = oldest
        self._dropped[profile] = self._dropped.get(profile, 0) + 1
        self._recount.add(profile)
        if len(self._gone) > self._most:
            self._gone.pop(next(iter(self._gone)))  # it may be in the store until the next start

    async def _flush_often(self) -> None:
        while True:
            await asyncio.sleep(self._flush_seconds)
            await self._flush()

    async def _flush(self) -> None:
        """What the store refuses is tried again with the next flush."""
        changed, gone = list(self._changed.values()), list(self._gone.values())
        if not changed and not gone:
            return
        counts = {profile: self._dropped[profile] for profile in self._recount}
        try:
            await self._store.save(changed=changed, gone=gone, dropped=counts)
        except Exception as error:  # noqa: BLE001 - the count lives on whatever the store says
            logger.warning("refused_hosts.not_saved", extra={"reason": str(error)})
            return
        self._forget_saved(changed, gone)

    def _forget_saved(self, changed: list[RefusedHost], gone: list[RefusedHost]) -> None:
        for host in changed:
            if self._changed.get((host.profile, host.key)) is host:
                del self._changed[host.profile, host.key]
        for host in gone:
            if self._gone.get((host.profile, host.key)) is host:
                del self._gone[host.profile, host.key]
        self._recount -= {host.profile for host in gone}
