"""The end of the audit log, in a file beside it or elsewhere."""

import asyncio
import os
import secrets
from pathlib import Path

import msgspec

from orchestrator.accounts.audit_chain import AuditHead

_LARGEST = 4096


class FileAnchor:
    """An AuditAnchor. The file is replaced whole, so that a crash leaves the old or the new."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def write(self, head: AuditHead) -> None:
        await asyncio.to_thread(self._write, head)

    async def read(self) -> AuditHead | None:
        return await asyncio.to_thread(self._read)

    def _write(self, head: AuditHead) -> None:
        there = self._read()
        if there is not None and there.seq > head.seq:
            return  # another process has come further
        draft = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(head) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        finally:
            draft.unlink(missing_ok=True)

    def _read(self) -> AuditHead | None:
        try:
            with open(self._path, "rb") as file:  # noqa: PTH123 - bounded, unlike read_bytes
                return msgspec.json.decode(file.read(_LARGEST), type=AuditHead)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None
