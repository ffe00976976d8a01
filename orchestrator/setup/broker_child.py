"""How a control plane comes to its broker: one it is told of, or one of this installation's own.

The own one outlives a control plane that is killed, and is found again by the next. Its socket lies
in the installation's folder of slots, which is the operator's alone and of which a sandbox sees
nothing but its own slot, under a name that says of what the broker was made.
"""

import hashlib
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import orchestrator
from orchestrator.sandboxes.broker.client import Dial
from orchestrator.sandboxes.broker.dialling import BrokerAddress, OwnBroker
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
FOLDER = "broker"
"""In the installation's folder of slots, whose other names are slots'."""
INSTANCE = variable("engine", "instance")
SECTIONS = ("engine", "slots", "broker", "pool", "profiles", "telemetry")
"""The settings that a broker heeds. None of their fields is secret."""


@asynccontextmanager
async def dialled_broker(
    settings: Settings, *, environment: Mapping[str, str]
) -> AsyncIterator[Dial]:
    """Leads to the broker. One of our own is gone afterwards, with all that it made, where it was
    told good-bye.

    Raises SlotFailure, where the installation's id cannot be had, and BrokerFailure.
    """
    if settings.broker.socket is not None:
        yield BrokerAddress(settings.broker.socket)
        return
    told = child_environment(settings, environment)
    async with OwnBroker(
        [sys.executable, "-m", "orchestrator", "broker"],
        environment=told,
        folder=settings.slots.root / told[INSTANCE] / FOLDER,
        make=make_of(told, profiles=settings.profiles.path),
        start_limit=settings.broker.connect_limit,
        close_limit=settings.broker.close_limit + 5,
    ) as own:
        yield own


def child_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Everything that a broker of ours is told, and nothing else."""
    settings.server.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    own = SandboxSettings(engine=settings.engine, slots=settings.slots)
    instance = installed(own, data_dir=settings.server.data_dir).engine.instance
    return {
        **{name: environment[name] for name in KEPT if name in environment},
        **environment_of(settings, SECTIONS),
        INSTANCE: instance,
        variable("model", "default"): settings.model.default,
        variable("server", "data_dir"): str(settings.server.data_dir),
        "CASEMATE_ENV_FILE": "/dev/null",  # that of the checkout holds the key
    }


def make_of(told: Mapping[str, str], *, profiles: Path | None) -> str:
    """Of what a broker that is told this would be made now: the program, its settings, its
    profiles. A broker that was made otherwise is none to go on with."""
    made = hashlib.sha256(sys.version.encode())
    for name in sorted(told):
        if name.startswith(("CASEMATE_", "DOCKER_")):
            made.update(f"{name}={told[name]}\0".encode())
    for path in [*made_of(), *filter(None, (profiles,))]:
        made.update(f"{path}\0".encode())
        made.update(path.read_bytes() if path.is_file() else b"")
    return made.hexdigest()[:16]


def made_of() -> list[Path]:
    """The files of the program that decide what it does: its modules, and the sandboxes' seccomp
    profile."""
    package = Path(orchestrator.__file__).parent
    return [path for path in sorted(package.rglob("*")) if path.suffix in {".py", ".json"}]
