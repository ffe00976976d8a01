"""Tokens that mean nothing by themselves: `id.secret`, of which only a hash of `secret` is kept."""

import hashlib
import hmac
import re
import secrets

import msgspec

_SHAPE = re.compile(r"([0-9a-f]{32})\.([A-Za-z0-9_-]{43})")


class OpaqueToken(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    secret: str
    """256 random bits."""

    def __str__(self) -> str:
        return f"{self.id}.{self.secret}"

    def __repr__(self) -> str:
        return f"OpaqueToken(id={self.id!r})"

    @property
    def secret_hash(self) -> bytes:
        return hashlib.sha256(self.secret.encode()).digest()

    def proves(self, secret_hash: bytes) -> bool:
        return hmac.compare_digest(self.secret_hash, secret_hash)


def mint() -> OpaqueToken:
    return OpaqueToken(id=secrets.token_hex(16), secret=secrets.token_urlsafe(32))


def parse(text: str) -> OpaqueToken | None:
    """None for what cannot be one of ours, whatever its length."""
    match = _SHAPE.fullmatch(text)
    return OpaqueToken(id=match[1], secret=match[2]) if match else None
