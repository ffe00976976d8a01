"""What an operator may set about the door: HTTP, WebSockets, the page. Times in seconds."""

import msgspec


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True):
    origins: tuple[str, ...] = ()
    """Further addresses of the page (`https://host[:port]`), beside the public one. Exact."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses whose X-Forwarded-For and X-Forwarded-Proto are believed. Others' are ignored."""
    metrics_token: str = ""
    """What Prometheus sends as bearer token. Empty: `/metrics` is for signed-in staff alone."""
    body_bytes: int = 65_536
    """Largest request body, prompts aside."""
    sockets_per_user: int = 20
    """Open streams of one user: a person with many tabs stays below it."""
    recheck_seconds: float = 2.0
    """How often an open stream asks whether its user is still welcome. With `standing_age` of the
    accounts it keeps a disabled user's access below five seconds."""
    resume_seconds: float = 10.0
    """How long a new socket may take to say where it left off."""
    send_seconds: float = 30.0
    """How long one frame may take to leave. A browser that reads nothing is let go."""
    receive_seconds: float = 30.0
    """How long an upload may send nothing. Longer, it would keep its place from others."""
    keep_alive_seconds: float = 15.0
    """Between comments on a quiet event stream, so that proxies keep it open."""
    commands_per_second: float = 20.0
    """From one socket, on average; faster ones are read more slowly. Nobody types that fast."""
    commands_at_once: int = 100
    """From one socket in one burst."""
    grace_pause: float = 0.3
    """How long the later one of two tabs that refresh at once waits, so that the cookies of the
    earlier one have arrived when it goes on."""
