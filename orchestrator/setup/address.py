"""Whether the address to serve on is free, asked before the long steps and not after them."""

import errno
import socket

from orchestrator.setup.errors import PortInUse


def require_free(host: str, port: int) -> None:
    """Raises PortInUse with what to do about it."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise _explain(error, host=host, port=port) from error


def _explain(error: OSError, *, host: str, port: int) -> PortInUse:
    if error.errno == errno.EADDRINUSE:
        return PortInUse(
            f"Port {port} on {host} is in use by another program, or by Casemate itself.",
            advice="Stop that one, or choose another port: CASEMATE_PORT=8081 ./just up",
        )
    if error.errno == errno.EACCES:
        return PortInUse(
            f"Port {port} may only be opened by root.",
            advice="Choose one above 1023 with CASEMATE_PORT.",
        )
    return PortInUse(
        f"Casemate cannot listen on {host}, port {port}: {error.strerror or error}.",
        advice="Set CASEMATE_HOST and CASEMATE_PORT to an address of this machine.",
    )
