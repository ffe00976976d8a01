"""The browser's cookies: access and refresh token, which no script sees, and the CSRF token."""

import hashlib
import hmac
import secrets
import time

import msgspec
from litestar.datastructures import Cookie

from orchestrator.accounts.ports import SignInId
from orchestrator.accounts.service import Admission

AUTH_PATH = "/api/v1/auth"
"""The refresh token travels nowhere else."""


class CookieNames(msgspec.Struct, frozen=True, kw_only=True):
    access: str
    refresh: str
    csrf: str


def names(*, secure: bool) -> CookieNames:
    """With https the prefixes stop a neighbour domain, or plain http, from planting cookies."""
    if not secure:
        return CookieNames(access="casemate_at", refresh="casemate_rt", csrf="casemate_csrf")
    return CookieNames(
        access="__Host-casemate_at", refresh="__Secure-casemate_rt", csrf="__Host-casemate_csrf"
    )


class Cookies:
    def __init__(self, *, secure: bool, csrf_key: bytes) -> None:
        self._secure = secure
        self._csrf_key = csrf_key
        self.names = names(secure=secure)

    def of(self, admission: Admission) -> list[Cookie]:
        now = time.time()
        lasts = max(1, int(admission.refresh_expires_at - now))
        access_lasts = max(1, int(admission.access_expires_at - now))
        return [
            self._cookie(self.names.access, admission.access_token, max_age=access_lasts),
            self._cookie(
                self.names.refresh, admission.refresh_token, max_age=lasts, path=AUTH_PATH
            ),
            self._cookie(
                self.names.csrf,
                self.csrf_token(admission.principal.sign_in),
                max_age=lasts,
                readable=True,
            ),
        ]

    def cleared(self) -> list[Cookie]:
        return [
            self._cookie(self.names.access, "", max_age=0),
            self._cookie(self.names.refresh, "", max_age=0, path=AUTH_PATH),
            self._cookie(self.names.csrf, "", max_age=0, readable=True),
        ]

    def csrf_token(self, sign_in: SignInId) -> str:
        """`nonce.mac`, of use with this one sign-in."""
        nonce = secrets.token_hex(8)
        return f"{nonce}.{self._mac(sign_in, nonce)}"

    def csrf_token_fits(self, token: str | None, sign_in: SignInId) -> bool:
        nonce, _, mac = (token or "").partition(".")
        return hmac.compare_digest(mac.encode(), self._mac(sign_in, nonce).encode())

    def _mac(self, sign_in: SignInId, nonce: str) -> str:
        message = f"{sign_in}\0{nonce}".encode(errors="replace")
        return hmac.new(self._csrf_key, message, hashlib.sha256).hexdigest()

    def _cookie(
        self, name: str, value: str, *, max_age: int, path: str = "/", readable: bool = False
    ) -> Cookie:
        return Cookie(
            key=name,
            value=value,
            max_age=max_age,
            path=path,
            secure=self._secure,
            httponly=not readable,
            samesite="strict",
        )
