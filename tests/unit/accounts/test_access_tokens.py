"""Access tokens: what is not exactly ours is not accepted."""

import base64
import hashlib
import hmac
import json

import jwt
import pytest

from orchestrator.accounts.access_tokens import AccessTokens
from orchestrator.accounts.errors import NotSignedIn
from orchestrator.accounts.ports import SignInId, User
from orchestrator.protocol.ids import UserId

KEY = b"k" * 32
NOW = 1_000_000.0
USER = User(id=UserId("u"), name="ada", role="user", created_at=0.0, version=3)


@pytest.fixture
def tokens():
    return AccessTokens(KEY, lifetime=600)


def claims(**changes):
    good = {
        "iss": "casemate",
        "aud": "casemate-api",
        "typ": "access",
        "sub": "u",
        "sid": "s",
        "jti": "j",
        "rv": 3,
        "iat": int(NOW),
        "exp": int(NOW) + 600,
    }
    return {k: v for k, v in (good | changes).items() if v is not None}


def signed(payload, key=KEY, algorithm="HS256", **header):
    return jwt.encode(payload, key, algorithm=algorithm, headers=header or None)


def unsigned(payload):
    def part(data):
        return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(payload)}."


def test_a_minted_token_is_verified(tokens):
    """It says who, on which sign-in, in which version, until when."""
    token, minted = tokens.mint(USER, SignInId("s"), now=NOW)
    assert tokens.verify(token, now=NOW + 599) == minted
    assert (minted.sub, minted.sid, minted.rv, minted.exp) == ("u", "s", 3, int(NOW) + 600)
    assert tokens.verify(signed(claims()), now=NOW).sub == "u"


BAD = {
    "alg none": unsigned(claims()),
    "HS512": signed(claims(), key=b"k" * 64, algorithm="HS512"),
    "HS384 with our key": signed(claims(), key=KEY + KEY, algorithm="HS384"),
    "another key": signed(claims(), key=b"x" * 32),
    "no exp": signed(claims(exp=None)),
    "no iat": signed(claims(iat=None)),
    "no sub": signed(claims(sub=None)),
    "no sid": signed(claims(sid=None)),
    "no jti": signed(claims(jti=None)),
    "no rv": signed(claims(rv=None)),
    "no typ": signed(claims(typ=None)),
    "refresh": signed(claims(typ="refresh")),
    "ticket": signed(claims(typ="ticket")),
    "wrong iss": signed(claims(iss="evil")),
    "no iss": signed(claims(iss=None)),
    "wrong aud": signed(claims(aud="other")),
    "no aud": signed(claims(aud=None)),
    "aud list": signed(claims(aud=["casemate-api", "other"])),
    "expired": signed(claims(iat=int(NOW) - 700, exp=int(NOW) - 100)),
    "from the future": signed(claims(iat=int(NOW) + 300, exp=int(NOW) + 800)),
    "lives too long": signed(claims(exp=int(NOW) + 86400)),
    "exp as text": signed(claims(exp=str(int(NOW) + 600))),
    "sub as number": signed(claims(sub=7)),
    "rv as true": signed(claims(rv=True)),
    "further claims": signed(claims(role="admin")),
    "crit": signed(claims(), crit=["x"]),
    "not a JWT": "a.b.c",
    "two parts": "a.b",
    "empty": "",
    "huge": "a" * 100_000,
    "trailing": signed(claims()) + "x",
    "other unicode": "ä.ö.ü",
}


@pytest.mark.parametrize("token", BAD.values(), ids=BAD.keys())
def test_what_is_not_exactly_ours_is_refused(tokens, token):
    """Another algorithm, key, kind, issuer, audience, time or shape: not signed in."""
    with pytest.raises(NotSignedIn):
        tokens.verify(token, now=NOW)


def test_a_key_of_another_algorithm_is_no_secret(tokens):
    """A token that says RS256 and is signed by HMAC with our key's bytes is refused."""
    header = base64.urlsafe_b64encode(b'{"alg":"RS256","typ":"JWT"}').rstrip(b"=")
    body = base64.urlsafe_b64encode(json.dumps(claims()).encode()).rstrip(b"=")
    mac = hmac.new(KEY, header + b"." + body, hashlib.sha256).digest()
    token = b".".join([header, body, base64.urlsafe_b64encode(mac).rstrip(b"=")]).decode()
    with pytest.raises(NotSignedIn):
        tokens.verify(token, now=NOW)


def test_headers_that_name_a_key_are_ignored(tokens):
    """Neither kid nor jwk nor jku leads anywhere: there is one key."""
    jwk = {"kty": "oct", "k": base64.urlsafe_b64encode(b"x" * 32).decode()}
    evil = signed(claims(), key=b"x" * 32, kid="../../dev/null", jwk=jwk, jku="https://evil")
    with pytest.raises(NotSignedIn):
        tokens.verify(evil, now=NOW)
    assert tokens.verify(signed(claims(), kid="whatever"), now=NOW).sub == "u"
