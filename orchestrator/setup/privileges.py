"""What differs when Casemate does not run as root: where its slots are, and what is then weaker."""

from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from orchestrator.sandboxes.settings import SlotSettings
from orchestrator.settings import Settings


def for_operator(
    settings: Settings, *, uid: int, environment: Mapping[str, str]
) -> tuple[Settings, str | None]:
    """Settings that this user can use, and what to tell them."""
    if uid == 0:
        return settings, None
    weaker = (
        "Casemate does not run as root. What is weaker: all sandboxes run with your own user id, "
        "so they share its kernel limits, and what escaped from one could read your files. "
        "Membership in the group docker is itself as good as root."
    )
    if settings.slots.root != SlotSettings().root:
        return settings, weaker
    root = _own_runtime_dir(uid, environment) / "slots"
    return replace(settings, slots=replace(settings.slots, root=root)), weaker


def _own_runtime_dir(uid: int, environment: Mapping[str, str]) -> Path:
    """The user's own tmpfs where there is one; a socket's path must stay short."""
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "casemate"
    return Path("/tmp") / f"casemate-{uid}"  # noqa: S108 -- slots check owner and mode of their root
