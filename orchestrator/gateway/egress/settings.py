"""What an operator may set about the egress proxy. Profiles say which hosts are allowed."""

from pathlib import Path

import msgspec


class EgressSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits hold per slot unless they say otherwise."""

    ca_bundle: Path | None = None
    """PEM file of certificate authorities that are trusted beside the system's: by the proxy where
    it adds a secret, and in sandboxes with egress. For a mirror with a company's certificate."""

    connect_timeout: float = 10.0
    """Seconds to look a host up, and again to reach it."""

    head_timeout: float = 15.0
    """Seconds that a sandbox has to send a request's head, and a tunnel's first TLS message."""

    idle_timeout: float = 300.0
    """Seconds without a byte in either direction before a connection is cut. A frozen sandbox reads
    and writes nothing."""

    half_closed_timeout: float = 30.0
    """The same once one side has said that it is done."""

    total_timeout: float = 4 * 3600.0
    """Seconds that one connection may last, whatever passes through it."""

    max_head_bytes: int = 32 << 10
    """Of a request's or an answer's head."""

    max_connections: int = 32
    """Connections at once; package managers open a dozen."""

    total_connections: int = 512
    """Of all slots together: each may hold about half a MiB and two file descriptors."""

    connections_per_minute: int = 600
    """On average; what is more gets a 429."""

    burst: int = 100
    """Connections at once before `connections_per_minute` counts."""

    requests_per_minute: int = 3000
    """Requests within tunnels that the proxy opens, on average; those beyond wait."""

    request_burst: int = 300
    """Such requests at once before `requests_per_minute` counts."""

    bytes_per_second: int = 16 << 20
    """In both directions together. What is faster is slowed down: each MiB costs the control plane
    about 20 ms of a processor, twice that where the proxy adds a secret."""

    lookups: int = 4
    """Names that one slot may have looked up at the same time."""

    repeat_silence: float = 5.0
    """Seconds before the same refusal is told again, with a count. Doubles each time, up to a
    hundred times this."""

    max_refused_hosts: int = 100
    """Different refusals that are told one by one; those beyond are counted together."""
