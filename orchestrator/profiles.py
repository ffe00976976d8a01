"""Profiles from the operator's TOML file, or the one that is always there."""

from pathlib import Path

import msgspec

from orchestrator.gateway.egress.rules import BadRule, check_egress
from orchestrator.plugin_api.profile_rules import BadPattern, check_rules
from orchestrator.protocol.agent import AgentSetup
from orchestrator.protocol.ids import ProfileName
from orchestrator.sandboxes.possible_profiles import impossibility
from orchestrator.sessions.profile_checks import BadProfileValue, check_profile
from orchestrator.sessions.profiles import FixedProfiles, Profile

MAX_FILE_BYTES = 1 << 20


class BadProfiles(ValueError):
    """The file cannot be used; the message says where and why."""


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    profile: list[Profile]


def load_catalogue(path: Path | None, *, model: str) -> FixedProfiles:
    """Raises BadProfiles. Without a path: the profile `default`, with this model."""
    if path is None:
        return FixedProfiles([default_profile(model)])
    try:
        text = path.read_bytes()
        profiles = msgspec.toml.decode(text[:MAX_FILE_BYTES], type=_File).profile
    except OSError as error:
        raise BadProfiles(f"{path} cannot be read: {error.strerror}.") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise BadProfiles(f"{path}: {error}.") from error
    names = [profile.name for profile in profiles]
    if not names or len(set(names)) != len(names):
        raise BadProfiles(f"{path}: there must be at least one profile, and no name twice.")
    for profile in profiles:
        _check(path, profile)
    return FixedProfiles(profiles)


def _check(path: Path, profile: Profile) -> None:
    """Raises BadProfiles."""
    try:
        check_rules(profile.agent)
    except BadPattern as error:
        raise BadProfiles(f"{path}: in the profile {profile.name!r}: {error}") from error
    servers = [server.name for server in profile.agent.mcp_servers]
    if len(set(servers)) != len(servers):
        raise BadProfiles(f"{path}: the profile {profile.name!r} names a tool server twice.")
    if (reason := impossibility(profile.resources)) is not None:
        raise BadProfiles(f"{path}: the profile {profile.name!r} cannot be. {reason}")
    try:
        check_egress(profile.egress)
        check_profile(profile)
    except (BadRule, BadProfileValue) as error:
        raise BadProfiles(f"{path}: the profile {profile.name!r}, {error}.") from error


def default_profile(model: str) -> Profile:
    return Profile(
        name=ProfileName("default"),
        title="Claude Code",
        description="A private sandbox with Python, git and ripgrep. Nothing runs unasked.",
        agent=AgentSetup(model=model),
    )
