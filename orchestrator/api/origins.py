"""Which addresses are ours: the origins that may call with cookies, the hosts that we answer to."""

from urllib.parse import urlsplit

import msgspec

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
DEFAULT_PORTS = {"http": 80, "https": 443}


class Origins(msgspec.Struct, frozen=True, kw_only=True):
    """`allowed` are exact `scheme://host[:port]`, as a browser writes them in `Origin`."""

    allowed: frozenset[str]
    secure: bool
    """The public address is https: cookies get their prefixes and the Secure attribute."""

    @property
    def hosts(self) -> frozenset[str]:
        return frozenset(origin.split("://", 1)[1] for origin in self.allowed)

    def allows(self, origin: str | None) -> bool:
        """False for a missing one and for `null`."""
        return origin is not None and origin in self.allowed

    def origin_of(self, host: str) -> str:
        """The origin that a page loaded from `host` has."""
        scheme = "https" if self.secure else "http"
        return f"{scheme}://{host.lower()}"


def origins_of(public_url: str, further: tuple[str, ...] = ()) -> Origins:
    """On a loopback address all its names count. Raises ValueError for what is no http(s) URL."""
    allowed: set[str] = set()
    for url in (public_url, *further):
        scheme, host, port = _parts(url)
        names = LOOPBACK if host in LOOPBACK else (host,)
        suffix = "" if port == DEFAULT_PORTS[scheme] else f":{port}"
        allowed.update(f"{scheme}://{name}{suffix}" for name in names)
    return Origins(allowed=frozenset(allowed), secure=public_url.lower().startswith("https://"))


def _parts(url: str) -> tuple[str, str, int]:
    split = urlsplit(url)
    if split.scheme not in DEFAULT_PORTS or not split.hostname:
        raise ValueError(f"{url!r} is not an address of the form http(s)://host[:port].")
    host = f"[{split.hostname}]" if ":" in split.hostname else split.hostname
    return split.scheme, host, split.port or DEFAULT_PORTS[split.scheme]
