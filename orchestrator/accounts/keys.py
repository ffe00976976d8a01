"""The signing keys: derived from one random file that only its owner can read."""

import contextlib
import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

import msgspec

KEY_BYTES = 32


class KeyFileUnsafe(Exception):
    """The key file cannot be trusted. The message says what to do about it."""


class SigningKeys(msgspec.Struct, frozen=True, kw_only=True):
    access: bytes
    csrf: bytes

    def __repr__(self) -> str:
        return "SigningKeys(...)"


def derived(master: bytes) -> SigningKeys:
    return SigningKeys(
        access=_labelled(master, b"casemate access token 1"),
        csrf=_labelled(master, b"casemate csrf token 1"),
    )


def load_or_create(path: Path) -> SigningKeys:
    """Read the key file, or make it (mode 0600) where there is none. Several processes may race.

    Raises KeyFileUnsafe where others could read or replace it, or where it is not a key.
    """
    if not path.exists():
        _create(path)
    return derived(_read(path))


def load_or_create_audit_key(path: Path) -> bytes:
    """The key of the audit log's hashes, in a file of its own: to sign everybody out one deletes
    the other one, and the log stays provable. Raises KeyFileUnsafe."""
    if not path.exists():
        _create(path)
    return _labelled(_read(path), b"casemate audit log 1")


def _create(path: Path) -> None:
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES).hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first: its key counts
            path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)


def _read(path: Path) -> bytes:
    try:
        file = open(path, "rb", opener=_no_link)  # noqa: SIM115  # closed below; needs opener
    except OSError as error:
        raise KeyFileUnsafe(f"The key file {path} cannot be read: {error.strerror}.") from error
    with file:
        found = os.fstat(file.fileno())
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise KeyFileUnsafe(f"Others can read the key file {path}: chmod 600 it, or delete it.")
        text = file.read(4 * KEY_BYTES)
    try:
        master = bytes.fromhex(text.decode().strip())
    except ValueError as error:
        raise KeyFileUnsafe(
            f"The key file {path} is damaged: put it back, or delete it."
        ) from error
    if len(master) != KEY_BYTES:
        raise KeyFileUnsafe(f"The key file {path} is damaged: put it back, or delete it.")
    return master


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


def _labelled(master: bytes, label: bytes) -> bytes:
    return hmac.new(master, label, hashlib.sha256).digest()
