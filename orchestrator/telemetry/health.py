"""Whether Casemate can serve: a pure summary of checks that others carry out."""

from typing import Literal

import msgspec

Status = Literal["ok", "degraded", "failed"]
"""`degraded`: it serves, and something that is not Casemate's own keeps people from their work."""


class CheckResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`sentence` says what is wrong, and holds nothing that a stranger may not read."""

    name: str
    status: Status
    sentence: str = ""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    status: Status
    checks: list[CheckResult]


class PoolFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What the summary must know of one pool."""

    profile: str
    min: int
    ready: int
    claimed: int
    problem: str = ""
    """Why no sandbox could be started, as the pool tells it."""
    reached_ready: bool = False
    """Whether it ever had a sandbox ready since the start."""


def database_check(*, answers: bool, kind: str = "") -> CheckResult:
    """`kind`: which one it is, as far as a stranger may know."""
    if answers:
        return CheckResult(name="database", status="ok", sentence=kind)
    return CheckResult(name="database", status="failed", sentence="The database does not answer.")


def broker_check(problem: str | None) -> CheckResult:
    """`problem` is why what runs the sandboxes cannot be reached."""
    if problem is None:
        return CheckResult(name="broker", status="ok")
    return CheckResult(name="broker", status="failed", sentence=problem)


def upstream_check(problem: str | None) -> CheckResult:
    """`problem` is why nothing is sent to the model API. That is no reason to restart Casemate, or
    to send people elsewhere: sessions, files and history are there."""
    if problem is None:
        return CheckResult(name="model API", status="ok")
    return CheckResult(name="model API", status="degraded", sentence=problem)


def pool_check(pool: PoolFigures) -> CheckResult:
    """A pool is well once it had a sandbox ready, and as long as it can start more."""
    name = f"pool {pool.profile}"
    if pool.min == 0 or pool.ready + pool.claimed > 0:
        return CheckResult(name=name, status="ok")
    if pool.problem:
        return CheckResult(name=name, status="failed", sentence=pool.problem)
    if pool.reached_ready:
        return CheckResult(name=name, status="ok", sentence="No sandbox is free at the moment.")
    return CheckResult(name=name, status="failed", sentence="The first sandbox is still starting.")


def summary(checks: list[CheckResult]) -> Health:
    found = {check.status for check in checks}
    worst: Status = "failed" if "failed" in found else "degraded" if "degraded" in found else "ok"
    return Health(status=worst, checks=checks)
