"""Keeps apart who names a blob and who gives blobs up that nobody names.

Between the moment in which content is stored and the one in which a checkpoint names it, it looks
like content that nobody needs; and what nobody names may be stored again while it is being deleted.
Neither holds the other up: who stored something that may have been deleted meanwhile stores it
again, and what is or was just claimed is not given up this time.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager


class Claim:
    """Of one who stores a blob and then names it."""

    def __init__(self, gone: set[str]) -> None:
        self._gone = gone
        self.digest: str | None = None
        """What is or will be named."""

    def hold(self, digest: str) -> bool:
        """From now on it stays. False where it may be gone: store it again."""
        if digest in self._gone:
            return False
        self.digest = digest
        return True

    def forgive(self, digest: str) -> None:
        """It was deleted, and may be stored now."""
        self._gone.discard(digest)

    def lose(self, digest: str) -> None:
        self._gone.add(digest)


class GivingUp:
    """Of one who looks which blobs are named, and deletes the others."""

    def __init__(self, claims: list[Claim]) -> None:
        self._claims = claims
        self._named: set[str] = set()
        self.deleting: dict[str, asyncio.Event] = {}
        """Just now; set when it is done."""

    def may_go(self, digest: str) -> bool:
        """True: delete it now, and say so when it is done. Whoever is storing it learns of it."""
        if digest in self._named or any(claim.digest == digest for claim in self._claims):
            return False
        self.deleting[digest] = asyncio.Event()
        for claim in self._claims:
            claim.lose(digest)
        return True

    def is_gone(self, digest: str) -> None:
        self.deleting.pop(digest).set()

    def note_named(self, digest: str) -> None:
        """After this one had looked, perhaps."""
        self._named.add(digest)


class BlobClaims:
    def __init__(self) -> None:
        self._claims: list[Claim] = []
        self._giving_up: list[GivingUp] = []

    @asynccontextmanager
    async def taking(self, expected: str | None = None) -> AsyncIterator[Claim]:
        """Around storing and naming; `expected` is what will probably be named: it is waited for
        who is deleting it, and nobody begins to."""
        claim = Claim({digest for one in self._giving_up for digest in one.deleting})
        claim.digest = expected
        self._claims.append(claim)
        try:
            if expected is not None:
                for one in list(self._giving_up):
                    if (deleting := one.deleting.get(expected)) is not None:
                        await deleting.wait()
                claim.forgive(expected)
            yield claim
        finally:
            self._claims.remove(claim)
            for one in self._giving_up:
                if claim.digest is not None:
                    one.note_named(claim.digest)

    @contextmanager
    def giving_up(self) -> Iterator[GivingUp]:
        """Around looking and deleting. Begin it before you look."""
        one = GivingUp(self._claims)
        self._giving_up.append(one)
        try:
            yield one
        finally:
            self._giving_up.remove(one)
