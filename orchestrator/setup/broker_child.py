"""How a control plane comes to its broker: one it is told of, or one that it starts beside it."""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from orchestrator.sandboxes.broker.client import Dial
from orchestrator.sandboxes.broker.dialling import BrokerAddress, BrokerChild
from orchestrator.sandboxes.installation import installed
from orchestrator.sandboxes.settings import SandboxSettings
from orchestrator.settings import Settings, environment_of, variable

KEPT = (
    *("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "XDG_RUNTIME_DIR"),
    *("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"),
    *("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"),
)
"""Of the own environment, what finds Python and Docker. Everything else stays here, so that a
secret need not be known as one to be kept back."""
SECTIONS = ("engine", "slots", "broker", "pool", "profiles", "telemetry")
"""The settings that a broker heeds. None of their fields is secret."""


@asynccontextmanager
async def dialled_broker(
    settings: Settings, *, environment: Mapping[str, str]
) -> AsyncIterator[Dial]:
    """Leads to the broker. One that is started is gone afterwards, with all that it made.

    Raises SlotFailure, where the installation's id cannot be had.
    """
    if settings.broker.socket is not None:
        yield BrokerAddress(settings.broker.socket)
        return
    async with BrokerChild(
        [sys.executable, "-m", "orchestrator", "broker"],
        environment=child_environment(settings, environment),
        close_limit=settings.broker.close_limit + 5,
    ) as child:
        yield child


def child_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Everything that a broker of ours is told, and nothing else."""
    settings.server.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    own = SandboxSettings(engine=settings.engine, slots=settings.slots)
    instance = installed(own, data_dir=settings.server.data_dir).engine.instance
    return {
        **{name: environment[name] for name in KEPT if name in environment},
        **environment_of(settings, SECTIONS),
        variable("engine", "instance"): instance,
        variable("model", "default"): settings.model.default,
        variable("server", "data_dir"): str(settings.server.data_dir),
        "CASEMATE_ENV_FILE": "/dev/null",  # that of the checkout holds the key
    }
