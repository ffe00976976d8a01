"""Whether what a profile says of keeping and resting can be done at all. Pure.

Looked at when the profile is read: in a sandbox it would fail after every turn, and tell a person
who cannot mend it.
"""

import re
import warnings

import msgspec
from pathspec import GitIgnoreSpec

from orchestrator.sessions.profiles import CheckpointRules, Lifetimes, Profile


class BadProfileValue(ValueError):
    """The message says which and why, to go behind the profile's name and a comma."""


def check_profile(profile: Profile) -> None:
    """Raises BadProfileValue."""
    check_checkpoints(profile.checkpoints)
    check_lifetimes(profile.lifetimes)


def check_checkpoints(rules: CheckpointRules) -> None:
    for pattern in rules.excludes:
        reason = _why_no_pattern(pattern)
        if reason:
            message = f"checkpoints.excludes: {pattern!r} is no pattern as in .gitignore ({reason})"
            raise BadProfileValue(message)
    for name in ("max_bytes", "max_entries", "max_seconds", "keep", "keep_bytes"):
        if not getattr(rules, name) > 0:
            raise BadProfileValue(f"checkpoints.{name} must be above 0")


def check_lifetimes(lifetimes: Lifetimes) -> None:
    parts = ("memory_soft", "memory_hard", "storage_soft")
    for name, value in msgspec.structs.asdict(lifetimes).items():
        if name in parts:
            if not 0 < value <= 1:
                raise BadProfileValue(f"lifetimes.{name} is a part: above 0, and 1 at most")
        elif value is not None and not value > 0:
            message = f"lifetimes.{name} must be above 0, and is `inf` for never"
            raise BadProfileValue(message)
    if lifetimes.memory_soft > lifetimes.memory_hard:
        raise BadProfileValue("lifetimes.memory_soft must not be above memory_hard")


def _why_no_pattern(pattern: str) -> str:
    if any(not char.isprintable() for char in pattern):
        return "it has invisible characters"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            GitIgnoreSpec.from_lines([pattern], backend="simple")
    except (ValueError, re.error) as error:
        return str(error)
    return ""
