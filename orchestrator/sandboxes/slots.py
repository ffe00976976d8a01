"""Slots: one directory per sandbox, in which it meets the control plane.

For: making them, with `agent.json` inside and a uid of the sandbox's own, and removing every one of
them. Not for: listening on the sockets in them (`shim_link`, the gateway).

The directory's mode and owner are what keeps other sandboxes and users out. Its name is 128 random
bits and says nothing. It is bound read-only, so that a sandbox cannot put something else in the
place of a socket, and it is never used twice.
"""

import errno
import fcntl
import os
import re
import secrets
import shutil
import socket
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from orchestrator.protocol.agent import AgentSetup
from orchestrator.protocol.ids import SlotId
from orchestrator.sandboxes.errors import SlotFailure, SlotsTaken
from orchestrator.sandboxes.settings import SlotSettings
from orchestrator.sandboxes.slot_sockets import SlotSockets, listen
from orchestrator.sandboxes.uid_shift import UidShift

LINK_SOCKET, MODEL_SOCKET, EGRESS_SOCKET = "link.sock", "gw.sock", "egress.sock"
AGENT_FILE = "agent.json"
LONGEST_SOCKET_PATH = 107
NO_SHIFT = UidShift()
_NAME = re.compile(r"[0-9a-f]{32}")


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    id: SlotId
    path: Path
    uid: int
    gid: int

    @property
    def link_socket(self) -> Path:
        return self.path / LINK_SOCKET

    @property
    def model_socket(self) -> Path:
        return self.path / MODEL_SOCKET

    @property
    def egress_socket(self) -> Path:
        return self.path / EGRESS_SOCKET

    def listen(self, *, egress: bool) -> SlotSockets:
        """The sockets on which its sandbox is heard. Raises OSError, leaving none open."""
        opened: list[socket.socket] = []
        try:
            opened += [listen(self.link_socket), listen(self.model_socket)]
            opened += [listen(self.egress_socket)] if egress else []
        except OSError:
            for listening in opened:
                listening.close()
            raise
        return SlotSockets(link=opened[0], model=opened[1], egress=opened[2] if egress else None)


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs the control plane."""

    uid: int
    gid: int

    @property
    def is_root(self) -> bool:
        return self.uid == 0


def this_operator() -> Operator:
    return Operator(uid=os.geteuid(), gid=os.getegid())


class Slots:
    """The slots below one root, which one process holds at a time. Use as a context manager."""

    def __init__(self, settings: SlotSettings, *, operator: Operator | None = None) -> None:
        self._settings = settings
        self._operator = operator or this_operator()
        self._uids: dict[SlotId, int] = {}
        self._lock: int | None = None

    @property
    def weaker(self) -> str | None:
        """What is less than it should be, in a sentence; None when nothing is."""
        if self._operator.is_root:
            return None
        return (
            "Casemate does not run as root, so all sandboxes share your own user id "
            "instead of having one each."
        )

    def __enter__(self) -> Self:
        """Raises SlotFailure: the root cannot be used, or another process holds it."""
        root = self._settings.root
        longest = root / ("0" * 32) / LINK_SOCKET
        if len(os.fsencode(longest)) > LONGEST_SOCKET_PATH:
            raise SlotFailure(f"{root} is too long a path for sockets: choose a shorter one.")
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check(root)
            self._lock = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._release()
            raise SlotsTaken(f"Another Casemate is running with {root}.") from error
        except OSError as error:
            self._release()
            raise SlotFailure(f"{root} cannot be used for slots: {error.strerror}.") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._release()

    def _check(self, root: Path) -> None:
        status = root.lstat()
        if not root.is_dir() or root.is_symlink():
            raise NotADirectoryError(errno.ENOTDIR, "it is not a directory")
        if status.st_uid != self._operator.uid or status.st_mode & 0o022:
            raise PermissionError(errno.EPERM, "others may write to it")

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def create(
        self,
        slot_id: SlotId,
        setup: AgentSetup,
        *,
        avoid: Collection[int] = (),
        shift: UidShift = NO_SHIFT,
    ) -> Slot:
        """A new slot with `agent.json` in it. `avoid` are uids that other sandboxes run with;
        `shift` leads from those to the host's.

        Raises SlotFailure, leaving nothing behind.
        """
        path = self._settings.root / slot_id
        if not _NAME.fullmatch(slot_id) or slot_id in self._uids or os.path.lexists(path):
            raise SlotFailure("That is no name for a new slot.")
        uid = self._choose_uid(avoid)
        gid = uid if self._operator.is_root else self._operator.gid
        if shift != NO_SHIFT and not self._operator.is_root:
            raise SlotFailure(
                "The Docker engine maps user ids (userns-remap), and only root can give slots to "
                "them: run Casemate as root, or use an engine that does not."
            )
        slot = Slot(id=slot_id, path=path, uid=uid, gid=gid)
        self._uids[slot_id] = uid
        try:
            path.mkdir(mode=0o700)
            self._write(path / AGENT_FILE, msgspec.json.encode(setup))
            if self._operator.is_root:
                os.chown(path, uid + shift.uid, gid + shift.gid)
        except OSError as error:
            self.remove(slot_id)
            raise SlotFailure(f"A slot could not be made: {error.strerror}.") from error
        return slot

    def _write(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        path.chmod(0o444)

    def _choose_uid(self, avoid: Collection[int]) -> int:
        if not self._operator.is_root:
            return self._operator.uid
        first, count = self._settings.first_uid, self._settings.uids
        taken = {*avoid, *self._uids.values()}
        begin = secrets.randbelow(count)
        for step in range(count):
            uid = first + (begin + step) % count
            if uid not in taken:
                return uid
        raise SlotFailure("Every user id of the configured range is in use by a sandbox.")

    def remove(self, slot_id: SlotId) -> None:
        """Idempotent. Raises SlotFailure when something of it is left."""
        path = self._settings.root / slot_id
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise SlotFailure(f"A slot could not be removed: {error.strerror}.") from error
        self._uids.pop(slot_id, None)

    def sweep(self) -> int:
        """Remove the slots that are not this run's. Returns how many there were.

        Raises SlotFailure.
        """
        try:
            names = [entry.name for entry in self._settings.root.iterdir()]
        except OSError as error:
            raise SlotFailure(f"The slots cannot be listed: {error.strerror}.") from error
        leftovers = [
            SlotId(name) for name in names if _NAME.fullmatch(name) and name not in self._uids
        ]
        for slot_id in leftovers:
            self.remove(slot_id)
        return len(leftovers)
