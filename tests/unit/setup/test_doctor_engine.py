"""The doctor's judgement of engines, from what some of them answered."""

from typing import Any

import pytest

from orchestrator.setup.engine_examination import EngineFacts, examine_engine, runsc_release

DEBIAN: dict[str, Any] = {  # 20.10 as Debian 12 has it, started with no options
    "Driver": "overlay2",
    "DriverStatus": [["Backing Filesystem", "extfs"], ["Supports d_type", "true"]],
    "Plugins": {"Log": ["json-file", "local", "syslog"], "Authorization": None},
    "MemoryLimit": True,
    "SwapLimit": True,
    "CpuCfsQuota": True,
    "CPUShares": True,
    "PidsLimit": True,
    "LoggingDriver": "json-file",
    "CgroupVersion": "1",
    "DockerRootDir": "/var/lib/docker",
    "Runtimes": {"runc": {"path": "runc"}, "io.containerd.runc.v2": {"path": "runc"}},
    "SecurityOptions": ["name=seccomp,profile=default"],
    "LiveRestoreEnabled": False,
    "Warnings": None,
}
CAREFUL: dict[str, Any] = DEBIAN | {  # 29 with everything that can be switched on
    "CgroupVersion": "2",
    "DockerRootDir": "/var/lib/docker/231072.231072",
    "DriverStatus": [["Backing Filesystem", "xfs"]],
    "Runtimes": {
        "runc": {"path": "runc"},
        "runsc": {"path": "runsc", "runtimeArgs": ["--network=none", "--host-uds=open"]},
    },
    "SecurityOptions": [
        "name=apparmor",
        "name=seccomp,profile=builtin",
        "name=userns",
        "name=cgroupns",
    ],
    "LiveRestoreEnabled": True,
}
NEW = {
    "Components": [{"Name": "Engine", "Version": "29.7.1"}, {"Name": "runc", "Version": "1.4.3"}]
}
ALL_CAPABILITIES = 0x1FFFFFFFFFF


def judged(info: dict[str, Any], **facts: Any) -> dict[str, Any]:
    given = {"version": NEW, "capabilities": ALL_CAPABILITIES} | facts
    return {one.about: one for one in examine_engine(EngineFacts(info=info, **given))}


def verdicts(found: dict[str, Any], verdict: str) -> set[str]:
    return {about for about, finding in found.items() if finding.verdict == verdict}


def test_an_engine_as_it_comes() -> None:
    """Nothing is bad about it, and what could be better has an advice."""
    found = judged(DEBIAN)
    assert verdicts(found, "bad") == set()
    assert verdicts(found, "warning") == {"user ids", "access control", "gVisor", "engine restarts"}
    assert all(finding.advice for finding in found.values() if finding.verdict != "good")


def test_a_careful_operators_engine() -> None:
    """With all that can be switched on there is nothing left to say."""
    found = judged(CAREFUL, runsc_version="runsc version release-20260101.0")
    assert verdicts(found, "good") == set(found)
    assert "231072" in found["user ids"].text


@pytest.mark.parametrize(
    ("changed", "about"),
    [
        ({"MemoryLimit": False}, "cgroups"),
        ({"PidsLimit": False}, "cgroups"),
        ({"CpuCfsQuota": False}, "cgroups"),
        ({"SwapLimit": False}, "swap accounting"),
        ({"SecurityOptions": []}, "system calls"),
        ({"SecurityOptions": None}, "system calls"),
        ({"SecurityOptions": ["name=seccomp", "name=rootless"]}, "user ids"),
        ({"SecurityOptions": ["name=seccomp", "name=userns"]}, "user ids"),
        ({"Plugins": {"Log": ["json-file"]}}, "logs"),
        (
            {"Warnings": ["WARNING: API is accessible on http://0.0.0.0:2375 without encryption."]},
            "engine's API",
        ),
    ],
)
def test_what_sandboxes_cannot_be_without_is_bad(changed: dict[str, Any], about: str) -> None:
    """Each is bad, alone, and says what to do."""
    found = judged(DEBIAN | changed)
    assert verdicts(found, "bad") == {about}
    assert found[about].advice


@pytest.mark.parametrize(
    ("runsc", "said", "wanted", "verdict", "word"),
    [
        (None, "", "auto", "warning", "Not registered"),
        (None, "", "runsc", "bad", "asked for"),
        ([], "", "auto", "bad", "--network=none and --host-uds=open"),
        (["--network=none"], "", "auto", "bad", "--host-uds=open"),
        (["-network=none", "-host-uds=all"], "", "auto", "good", "used"),
        (["--network=none", "--host-uds=open"], "0.0~20221219.0", "auto", "bad", "too old"),
        (["--network=none", "--host-uds=open"], "0.0~20240729.0", "auto", "good", "20240729"),
        (["--network=none", "--host-uds=open"], "0.0~20240729.0", "runc", "good", "not used"),
    ],
)
def test_gvisor(runsc: list[str] | None, said: str, wanted: str, verdict: str, word: str) -> None:
    """Registered wrongly or too old it is worse than not at all."""
    runtimes = {"runc": {}} | ({} if runsc is None else {"runsc": {"runtimeArgs": runsc}})
    found = judged(DEBIAN | {"Runtimes": runtimes}, runsc_version=said, wanted=wanted)["gVisor"]
    assert found.verdict == verdict
    assert word in found.text


@pytest.mark.parametrize(
    ("said", "release"),
    [
        ("runsc version release-20240729.0", 20240729),
        ("runsc version 0.0~20221219.0", 20221219),
        ("runsc version VERSION_MISSING", None),
        ("", None),
    ],
)
def test_runsc_release(said: str, release: int | None) -> None:
    """Google's and Debian's ways of naming a release are read; any other is unknown."""
    assert runsc_release(said) == release


def test_an_engine_without_a_capability() -> None:
    """Whoever may lower its score is told to the operator; where nobody looked, nothing is said."""
    assert judged(DEBIAN, capabilities=0x1FFFEFFFFFF)["memory's victim"].verdict == "warning"
    assert judged(DEBIAN, capabilities=None)["memory's victim"].verdict == "good"


def test_old_parts_are_warnings_with_versions() -> None:
    """A known hole is named with what it needs and from which version it is closed."""
    old = {"Components": [{"Name": "runc", "Version": "1.2.7"}]}
    found = [
        one for one in examine_engine(EngineFacts(info=DEBIAN, version=old)) if "runc" in one.about
    ]
    assert {one.verdict for one in found} == {"warning"}
    assert "1.2.8 or 1.3.3" in found[0].advice


@pytest.mark.parametrize("info", [{}, {"Runtimes": None, "Plugins": None, "DriverStatus": None}])
def test_an_engine_that_tells_nothing(info: dict[str, Any]) -> None:
    """It is judged all the same."""
    assert verdicts(judged(info), "bad") == {"system calls"}
