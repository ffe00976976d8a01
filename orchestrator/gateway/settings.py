"""What an operator may set about the gateway."""

import msgspec

MIB = 1 << 20


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """The key is no setting of this struct: see `credential`."""

    upstream_url: str = "https://api.anthropic.com"
    """Where the model API is: scheme, host and port, and a path before `/v1` if it has one."""

    upstream_proxy: str = ""
    """An HTTP proxy towards the upstream, as a URL; empty for none. The environment's `*_PROXY` are
    ignored, so that no stray variable decides where the key goes."""

    upstream_ca_bundle: str = ""
    """PEM file of certificate authorities to trust instead of the system's, as companies have."""

    connect_timeout: float = 10.0
    """Seconds to reach the upstream, DNS and TLS included."""

    silence_timeout: float = 300.0
    """Seconds without a byte from the upstream before the request is given up. The real API pings a
    stream often; without streaming a long answer is silent until it is complete."""

    body_timeout: float = 60.0
    """Seconds that a sandbox has to send its request's body."""

    body_grace: float = 5.0
    """Seconds before the body's speed counts: the sandbox may be busy."""

    body_bytes_per_second: int = 64 << 10
    """The least speed of a body, on average. A body that trickles holds a place and its memory."""

    head_timeout: float = 10.0
    """Seconds from a connection, or from a request's first byte, to the end of the head."""

    write_timeout: float = 300.0
    """Seconds that a sandbox may leave a piece of its answer unread. A frozen one reads nothing."""

    max_body_bytes: int = 32 * MIB
    """The model API's own limit."""

    slot_body_bytes: int = 64 * MIB
    """Bodies of one slot that may be held at once."""

    total_body_bytes: int = 512 * MIB
    """Large bodies of all slots together, so that many sandboxes cannot fill the memory."""

    max_connections: int = 64
    """Connections that one slot may hold open: each costs the server a file descriptor."""

    connections_per_second: float = 10.0
    """Connections of one slot that are taken, on average; the others wait in the kernel. The CLI
    keeps its connections and makes a few a minute."""

    connection_burst: int = 24
    """Connections that are taken at once before `connections_per_second` counts."""

    max_concurrency: int = 12
    """Requests that one slot may have under way: the CLI's subagents run side by side."""

    outage_failures: int = 5
    """Failures of the upstream in a row, of all sessions together, after which requests fail at
    once for a while: no connection, no answer, an error of its own (5xx). Answers of any other kind
    in between, rate limits among them, begin the count anew."""

    outage_failures_per_session: int = 3
    """Of these, how many one session may add by what its own requests might have caused (an error,
    a silence, a cut). Less than `outage_failures`: no session alone can stop all."""

    outage_window: float = 60.0
    """Seconds after which a failure no longer counts together with the next one."""

    outage_pause: float = 15.0
    """Seconds without a request to an upstream that is down. Then one request at a time tries."""

    outage_probe: float = 15.0
    """Seconds that the request that tries may keep the others waiting before another one tries."""

    requests_per_minute: int = 240
    """Of one slot, on average; what is more gets a 429."""

    burst: int = 40
    """Requests that one slot may send at once before `requests_per_minute` counts."""

    max_tokens: int = 128_000
    """The most that one answer may be allowed. The CLI itself asks for 128,000 with some models."""

    token_budget: int | None = None
    """Tokens, read and written, cache included, that one session may use where its profile does not
    say. None: no limit. One request that is under way may go beyond it: by its prompt and its
    `max_tokens` at most."""

    betas: tuple[str, ...] = ()
    """Features of the model API (names in `anthropic-beta`, without their dates) that pass beside
    those that are known to change nothing but the answer. Others are dropped."""

    repeat_silence: float = 5.0
    """Seconds in which the same failure is told to a session's people once."""
