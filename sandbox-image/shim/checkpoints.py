"""Checkpoints: the session's files as one archive, made of them and made into them again.

For: what a `SendCheckpoint` and a `ReceiveCheckpoint` do, apart from their connection. All of it
blocks and belongs into a thread. How an archive is read and written is in `packing`, `unpacking`.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from orchestrator.protocol.transfers import ReceiveCheckpoint, SendCheckpoint
from shim.contents import Fingerprint, Roots, contents_of, fingerprint_of, settle
from shim.packing import Packing
from shim.unpacking import restore

EVERYTHING = 1 << 62


class Prepared(NamedTuple):
    packing: Packing
    fingerprint: Fingerprint


class Checkpoints:
    """Of one sandbox, for all its life: remembers which fingerprint its files had last."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._last: Fingerprint | None = None

    def prepare(self, order: SendCheckpoint) -> Prepared | None:
        """None where nothing changed since the checkpoint that the order names. Raises Unfit."""
        began = time.time_ns()
        contents = contents_of(
            self._roots,
            excludes=order.excludes,
            most_entries=order.most_entries,
            most_bytes=order.most_bytes,
        )
        now = fingerprint_of(contents.found, looked_at_ns=began)
        if now == self._last and now.portable == order.unless:
            return None
        return Prepared(packing=Packing(contents, self._roots), fingerprint=now)

    def sent(self, prepared: Prepared) -> None:
        """All of it, to the end."""
        self._last = prepared.fingerprint

    def restore(self, order: ReceiveCheckpoint, more: Callable[[], bytes]) -> None:
        """`more` gives the archive. Raises Unfit, and what `more` raises; then nothing changed."""
        self._last = None
        restore(more, self._roots, most_entries=order.most_entries, most_bytes=order.most_bytes)
        settle()
        self._last = self._fingerprint()

    def _fingerprint(self) -> Fingerprint:
        began = time.time_ns()
        contents = contents_of(
            self._roots, excludes=(), most_entries=EVERYTHING, most_bytes=EVERYTHING
        )
        return fingerprint_of(contents.found, looked_at_ns=began)
