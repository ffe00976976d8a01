"""How much memory the machine has left."""

import sys

import pytest

from orchestrator.sandboxes.host_memory import ProcHostMemory, available_in

MEMINFO = """MemTotal:       16265416 kB
MemFree:          312340 kB
MemAvailable:    9123456 kB
Buffers:          123456 kB
HugePages_Total:       0
"""


def test_available_memory_is_read():
    """What the kernel says is available, in bytes."""
    assert available_in(MEMINFO) == 9123456 * 1024


@pytest.mark.parametrize(
    "text", ["", "MemAvailable", "MemAvailable: x kB", "MemAvailable: -1 kB", "MemAvailable: 1 MB"]
)
def test_what_is_not_understood_is_unknown(text):
    """A file of another shape gives no number rather than a wrong one."""
    assert available_in(text) is None


def test_missing_file_is_unknown(tmp_path):
    """Where there is no such file, nothing is known."""
    assert ProcHostMemory(tmp_path / "meminfo").available() is None


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells it")
def test_this_machine_has_memory():
    """On Linux there is a number, and it is more than nothing."""
    available = ProcHostMemory().available()
    assert available is not None
    assert available > 1 << 20
