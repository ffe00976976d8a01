"""A rule's secret, read from the operator's file, as the header that carries it.

SecretMissing   the file cannot be read, or what is in it is no secret; says nothing of it
"""

import base64
from pathlib import Path

from orchestrator.sessions.profiles import Injection

LARGEST_SECRET = 16 << 10
MASK = "[masked]"


class SecretMissing(Exception):
    """The message is for the operator's log."""


class SecretHeader:
    """One request's. Not shown by `repr`."""

    __slots__ = ("_forms", "_value", "name")

    def __init__(self, injection: Injection, secret: str) -> None:
        self.name = injection.header.lower().encode("ascii")
        basic = base64.b64encode(f"{injection.username}:{secret}".encode("ascii")).decode("ascii")
        match injection.scheme:
            case "bearer":
                self._value = f"Bearer {secret}"
            case "basic":
                self._value = f"Basic {basic}"
            case "raw":
                self._value = secret
        self._forms = sorted({secret, basic, self._value}, key=len, reverse=True)

    @property
    def field(self) -> tuple[bytes, bytes]:
        """The header, for the request to the host."""
        return self.name, self._value.encode("ascii")

    def masked(self, text: bytes) -> bytes:
        """`text` without the secret in any form in which it was sent."""
        for form in self._forms:
            text = text.replace(form.encode("ascii"), MASK.encode("ascii"))
        return text


def read_secret(injection: Injection) -> SecretHeader:
    """Blocks. Read each time: a token that was changed counts at once. Raises SecretMissing."""
    try:
        with Path(injection.secret_file).open("rb") as file:
            content = file.read(LARGEST_SECRET + 1)
        secret = content.decode("ascii").strip()
    except OSError as error:
        raise SecretMissing(f"the file cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SecretMissing("the file's content is not plain ASCII") from error
    if not secret or not secret.isprintable() or len(content) > LARGEST_SECRET:
        raise SecretMissing("the file's content is empty, too long or more than one line")
    return SecretHeader(injection, secret)
