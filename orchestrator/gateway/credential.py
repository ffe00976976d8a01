"""The key to the model API: it goes into a request's headers and nowhere else."""

from orchestrator.protocol.secret import Secret


class Credential:
    """How the gateway identifies itself to the model API."""

    __slots__ = ("_header", "_prefix", "_secret")

    def __init__(self, *, header: str, prefix: str, secret: Secret) -> None:
        self._header = header
        self._prefix = prefix
        self._secret = secret

    @classmethod
    def api_key(cls, key: str) -> "Credential":
        """Sent as `x-api-key`."""
        return cls(header="x-api-key", prefix="", secret=Secret(key))

    @classmethod
    def auth_token(cls, token: str) -> "Credential":
        """Sent as `authorization: Bearer …`."""
        return cls(header="authorization", prefix="Bearer ", secret=Secret(token))

    def headers(self) -> dict[str, str]:
        """Make them for one request; keep them nowhere."""
        return {self._header: self._prefix + self._secret.reveal()}

    def __repr__(self) -> str:
        return f"Credential({self._header})"
