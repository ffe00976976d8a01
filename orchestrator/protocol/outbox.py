"""What was sent over the link and not yet acknowledged: numbered, and sent again after a break."""

from collections import deque

import msgspec

from orchestrator.protocol.link import Numbered


class Outbox:
    """Grows by `add`, shrinks by `acknowledge`; whoever holds it bounds it by `len` and `size`."""

    def __init__(self, *, last: int = 0) -> None:
        """Numbers go on from `last`."""
        self._items: deque[Numbered] = deque()
        self._last = last
        self._size = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def size(self) -> int:
        """Bytes of all bodies."""
        return self._size

    @property
    def last(self) -> int:
        """The highest number given out."""
        return self._last

    def add(self, body: bytes | str) -> Numbered:
        """`body` is JSON."""
        self._last += 1
        item = Numbered(self._last, msgspec.Raw(body))
        self._items.append(item)
        self._size += len(bytes(item.body))
        return item

    def acknowledge(self, n: int) -> None:
        """Everything up to `n` is held by the other side. Numbers already gone are no error."""
        while self._items and self._items[0].n <= n:
            self._size -= len(bytes(self._items.popleft().body))

    def pending(self) -> list[Numbered]:
        """What to send again, in order."""
        return list(self._items)
