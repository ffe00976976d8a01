"""What an operator may set about the audit log."""

from pathlib import Path

import msgspec


class AuditSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The audit log: who did what. It is kept in the database and cannot be changed unnoticed."""

    head_path: Path | None = None
    """File in which the end of the log is anchored. Empty: `audit.head` in the data directory. On
    another disk, or one that is copied away, it shows that the log's end was cut off even where
    somebody owns the database's disk."""
    anchor_records: int = 100
    """The end is anchored after so many records,"""
    anchor_seconds: float = 60.0
    """and so many seconds after the first one that is not anchored yet."""
    queue: int = 10_000
    """Entries that wait to be written, while the database is slow. What comes beyond is dropped,
    counted, and the gap is recorded."""
