"""Passwords: argon2id, a bounded number at a time, in a thread, and no hint about who exists."""

import asyncio
import unicodedata
from collections.abc import Callable
from typing import TypeVar

import argon2

from orchestrator.accounts.errors import SignInBusy, WeakPassword
from orchestrator.accounts.settings import AccountsSettings
from orchestrator.accounts.weak_passwords import WEAK_PASSWORDS

T = TypeVar("T")

MAX_BYTES = 1024
MIN_LENGTH = 12


class Passwords:
    """Hashes and verifies. One per process, as it owns the limit on work at once."""

    def __init__(self, settings: AccountsSettings) -> None:
        self._hasher = argon2.PasswordHasher(
            memory_cost=settings.argon2_memory_kib,
            time_cost=settings.argon2_passes,
            parallelism=1,
        )
        self._limit = asyncio.Semaphore(settings.hashing_at_once)
        self._room = settings.hashing_queue + settings.hashing_at_once
        self._dummy: str | None = None

    async def hash(self, password: str) -> str:
        """The PHC string. Raises SignInBusy."""
        return await self._run(lambda: self._hasher.hash(prepared(password)))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Takes as long when `stored` is None: then a dummy is verified. Raises SignInBusy."""
        return await self._run(lambda: self._matches(stored, prepared(password)))

    def needs_rehash(self, stored: str) -> bool:
        return self._hasher.check_needs_rehash(stored)

    def check_strength(self, password: str, *, name: str) -> None:
        """Raises WeakPassword. There are no rules about kinds of characters."""
        if len(password.encode(errors="surrogatepass")) > MAX_BYTES:
            raise WeakPassword("A password has at most 1024 bytes.", advice="Choose a shorter one.")
        if len(password) < MIN_LENGTH:
            raise WeakPassword("A password needs at least 12 characters.")
        plain = password.lower()
        if plain in WEAK_PASSWORDS or len(set(plain)) < MIN_LENGTH // 3 or plain == name * 2:
            raise WeakPassword
        if len(plain.replace(name, "")) < MIN_LENGTH // 2:
            raise WeakPassword("The password is little more than your name.")

    def _matches(self, stored: str | None, password: bytes) -> bool:
        if self._dummy is None:
            self._dummy = self._hasher.hash(b"nobody has this password")
        try:
            self._hasher.verify(stored or self._dummy, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False
        return stored is not None and len(password) <= MAX_BYTES

    async def _run(self, work: Callable[[], T]) -> T:
        if self._room <= 0:
            raise SignInBusy
        self._room -= 1
        try:
            async with self._limit:
                return await asyncio.to_thread(work)
        finally:
            self._room += 1


def prepared(password: str) -> bytes:
    """The bytes that are hashed: one form of each character, cut just above the longest allowed."""
    head = password[: MAX_BYTES + 1]
    return unicodedata.normalize("NFC", head).encode(errors="surrogatepass")[: MAX_BYTES + 1]
