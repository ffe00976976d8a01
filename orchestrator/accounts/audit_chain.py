"""What makes a change of the audit log show: each record carries a keyed hash of itself and of the
record before it, and the last one is anchored elsewhere. Pure.

Who changes, removes or moves a record would have to compute all later hashes anew, and has not the
key. Who cuts the end off contradicts the anchor. Not found is only an attacker who has the key, and
one who puts an older anchor in place of the newest together with the records of that time.
"""

import hashlib
import hmac
from collections.abc import Iterable

import msgspec

from orchestrator.accounts.audit import AuditEntry, AuditFact, plain

GENESIS = "0" * 64
"""What stands for the record before the first one."""


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An entry in its place. Hashes are hexadecimal."""

    entry: AuditEntry
    prev: str
    hash: str


class AuditHead(msgspec.Struct, frozen=True, kw_only=True):
    """The end of the chain at some time. `count` is how many records there were."""

    seq: int
    hash: str
    count: int
    seal: str = ""
    """A keyed hash of the rest: nobody else can make a head."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found. `broken` is the first record that is not as it was written; None with a
    sentence where it is the anchor that is missing or wrong."""

    checked: int
    broken: int | None = None
    sentence: str = ""

    @property
    def is_whole(self) -> bool:
        return not self.sentence


def next_record(fact: AuditFact, *, at: str, after: AuditRecord | None, key: bytes) -> AuditRecord:
    """The record of a fact behind the last one."""
    entry = AuditEntry(
        seq=1 if after is None else after.entry.seq + 1,
        at=at,
        action=plain(fact.action),
        actor=plain(fact.actor),
        object=plain(fact.object),
        result=fact.result,
        address=plain(fact.address),
        detail=plain(fact.detail),
    )
    prev = GENESIS if after is None else after.hash
    return AuditRecord(entry=entry, prev=prev, hash=_hash_of(entry, prev=prev, key=key))


def head_of(record: AuditRecord, *, key: bytes) -> AuditHead:
    head = AuditHead(seq=record.entry.seq, hash=record.hash, count=record.entry.seq)
    return msgspec.structs.replace(head, seal=_seal_of(head, key=key))


def is_head_of(record: AuditRecord, head: AuditHead, *, key: bytes) -> bool:
    """Whether the head is this record's, and was made by whoever has the key."""
    return hmac.compare_digest(head.seal, _seal_of(head, key=key)) and hmac.compare_digest(
        record.hash, head.hash
    )


class ChainCheck:
    """Fed with all records in their order; what it holds does not grow with their number."""

    def __init__(self, *, key: bytes, head: AuditHead | None) -> None:
        self._key = key
        self._head = head
        self._checked = 0
        self._last = GENESIS
        self._finding: Finding | None = None

    def feed(self, records: Iterable[AuditRecord]) -> Finding | None:
        """The first fault, once there is one."""
        for record in records:
            if self._finding is not None:
                break
            self._check(record)
        return self._finding

    def finish(self) -> Finding:
        """After the last record."""
        if self._finding is not None:
            return self._finding
        return Finding(checked=self._checked, sentence=self._fault_of_head())

    def _check(self, record: AuditRecord) -> None:
        seq = self._checked + 1
        sentence = self._fault_of(record, seq)
        if sentence:
            self._finding = Finding(checked=self._checked, broken=seq, sentence=sentence)
        else:
            self._checked, self._last = seq, record.hash

    def _fault_of(self, record: AuditRecord, seq: int) -> str:
        if record.entry.seq != seq:
            return f"Record {seq} is missing: the next one there is {record.entry.seq}."
        if not hmac.compare_digest(record.prev, self._last):
            return f"Record {seq} does not follow the one before it."
        expected = _hash_of(record.entry, prev=record.prev, key=self._key)
        if not hmac.compare_digest(record.hash, expected):
            return f"Record {seq} was changed, or written with another key."
        head = self._head
        if head is not None and head.seq == seq and not hmac.compare_digest(head.hash, record.hash):
            return f"Record {seq} is not the one that was anchored."
        return ""

    def _fault_of_head(self) -> str:
        head = self._head
        if head is None:
            return "" if not self._checked else "The anchor is missing: the end cannot be checked."
        if not hmac.compare_digest(head.seal, _seal_of(head, key=self._key)):
            return "The anchor was changed, or written with another key."
        if self._checked < head.seq:
            return (
                f"The end is missing: {head.seq} records were anchored, {self._checked} are there."
            )
        return ""


def _hash_of(entry: AuditEntry, *, prev: str, key: bytes) -> str:
    """Of the fields as a list, in a fixed order: no two entries have the same bytes."""
    parts = [prev, entry.seq, entry.at, entry.actor, entry.action, entry.object]
    parts += [entry.result, entry.address, entry.detail]
    return hmac.new(key, msgspec.json.encode(parts), hashlib.sha256).hexdigest()


def _seal_of(head: AuditHead, *, key: bytes) -> str:
    parts = ["head", head.seq, head.hash, head.count]
    return hmac.new(key, msgspec.json.encode(parts), hashlib.sha256).hexdigest()
