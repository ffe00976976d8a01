"""Which installation this is: the id that its containers carry and its slots live under.

Kept in the data directory, so that it outlives restarts, and that two installations on one Docker
host never take each other's containers for their own leftovers.
"""

import hashlib
import re
import secrets
from pathlib import Path

from msgspec.structs import replace

from orchestrator.sandboxes.errors import SlotFailure
from orchestrator.sandboxes.settings import SandboxSettings

FILE = "instance"
VALID = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


def installed(settings: SandboxSettings, *, data_dir: Path) -> SandboxSettings:
    """The same settings with the installation's id in them, and slots of its own.

    Raises SlotFailure where the id cannot be read, made or used.
    """
    instance = settings.engine.instance or _kept_id(data_dir / FILE)
    if not VALID.fullmatch(instance):
        raise SlotFailure(
            f"{instance[:40]!r} is no name for an installation: use a-z, 0-9 and -, 31 at most."
        )
    return replace(
        settings,
        engine=replace(settings.engine, instance=instance),
        slots=replace(settings.slots, root=settings.slots.root / instance),
    )


def _kept_id(path: Path) -> str:
    try:
        if not path.exists():
            path.write_text(secrets.token_hex(4) + "\n")
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SlotFailure(f"{path} cannot be used: it holds the installation's id.") from error


def client_of(instance: str) -> str:
    """The name under which a broker keeps this installation's sandboxes."""
    return hashlib.sha256(f"casemate control plane of {instance}".encode()).hexdigest()[:32]
