"""How the application is served: uvicorn with uvloop, and the limits that only it can keep."""

import uvicorn
from litestar import Litestar

from orchestrator.api.chat_socket import MAX_FRAME_BYTES
from orchestrator.api.settings import ApiSettings

PING_SECONDS = 20.0
IDLE_SECONDS = 30


def server_config(
    app: Litestar, *, host: str, port: int, settings: ApiSettings, shutdown_seconds: float
) -> uvicorn.Config:
    """Logs go through the root logger. Open sockets are closed with 1012 at shutdown."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        ws="websockets-sansio",
        ws_max_size=MAX_FRAME_BYTES,
        ws_per_message_deflate=False,  # frames are small, and compressing secrets leaks them
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=max(1, round(shutdown_seconds)),
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        server_header=False,
        access_log=False,
        log_config=None,
        lifespan="on",
    )
