import socket

import pytest

from orchestrator.setup.address import require_free
from orchestrator.setup.errors import PortInUse


def test_port_in_use():
    """A port that somebody listens on is told about before anything long begins."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortInUse, match=f"Port {port}.*CASEMATE_PORT"):
            require_free("127.0.0.1", port)


def test_free_port():
    """A free port is not."""
    require_free("127.0.0.1", 0)


def test_foreign_address():
    """An address that this machine does not have is told as a sentence."""
    with pytest.raises(PortInUse, match="cannot listen on"):
        require_free("192.0.2.1", 8080)
