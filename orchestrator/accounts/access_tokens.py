"""Access tokens: short-lived JWTs that say who asks. One algorithm, one issuer, one audience."""

import secrets
from typing import Literal

import jwt
import msgspec

from orchestrator.accounts.errors import NotSignedIn
from orchestrator.accounts.ports import SignInId, User
from orchestrator.protocol.ids import UserId

ALGORITHM = "HS256"
ISSUER: Literal["casemate"] = "casemate"
AUDIENCE: Literal["casemate-api"] = "casemate-api"
MAX_LENGTH = 4096
CLOCK_SKEW = 5
"""Seconds by which a token may be from the future."""


class AccessClaims(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    iss: Literal["casemate"]
    aud: Literal["casemate-api"]
    typ: Literal["access"]
    sub: UserId
    sid: SignInId
    jti: str
    rv: int
    """The user's `version` when it was minted."""
    iat: int
    exp: int


class AccessTokens:
    def __init__(self, key: bytes, *, lifetime: int) -> None:
        self._key = key
        self._lifetime = lifetime

    def mint(self, user: User, sign_in: SignInId, *, now: float) -> tuple[str, AccessClaims]:
        claims = AccessClaims(
            iss=ISSUER,
            aud=AUDIENCE,
            typ="access",
            sub=user.id,
            sid=sign_in,
            jti=secrets.token_hex(8),
            rv=user.version,
            iat=int(now),
            exp=int(now) + self._lifetime,
        )
        return jwt.encode(msgspec.to_builtins(claims), self._key, algorithm=ALGORITHM), claims

    def verify(self, token: str, *, now: float) -> AccessClaims:
        """Raises NotSignedIn for whatever is not a token of ours that is valid now."""
        claims = self._decode(token)
        if not claims.iat <= now + CLOCK_SKEW or not now < claims.exp:
            raise NotSignedIn
        if claims.exp - claims.iat > self._lifetime:
            raise NotSignedIn
        return claims

    def _decode(self, token: str) -> AccessClaims:
        if len(token) > MAX_LENGTH:
            raise NotSignedIn
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                options={
                    "require": ["exp", "iat", "sub", "aud", "iss"],
                    "verify_exp": False,  # both with our own clock, in `verify`
                    "verify_iat": False,
                },
            )
            return msgspec.convert(claims, AccessClaims)
        except (jwt.PyJWTError, msgspec.ValidationError, ValueError) as error:
            raise NotSignedIn from error
