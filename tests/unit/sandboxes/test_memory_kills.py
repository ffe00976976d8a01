import pytest

from orchestrator.sandboxes.memory_kills import PLACES, KillCounters, memory_kills

ID = "0123456789abcdef" * 4
V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"
V2 = "low 0\nhigh 0\nmax 77\noom 3\noom_kill {}\noom_group_kill 0\n"


def write(root, place, text):
    path = root / place.format(id=ID)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(("place", "text"), list(zip(PLACES, (V1, V1, V2, V2), strict=True)))
def test_where_it_is_read(tmp_path, place, text):
    """The counter is found with either version of cgroups and either driver of the engine."""
    write(tmp_path, place, text.format(2))
    assert memory_kills(ID, cgroups=tmp_path) == 2


@pytest.mark.parametrize("text", ["", "oom_kill_disable 1\n", "oom_kill many\n", "oom_kill\n"])
def test_what_is_not_understood(tmp_path, text):
    """Where there is no number there is no answer."""
    write(tmp_path, PLACES[0], text)
    assert memory_kills(ID, cgroups=tmp_path) is None


@pytest.mark.parametrize("name", ["", "../" * 5 + "etc", "x", ID.upper(), ID + "\n"])
def test_no_other_path_is_read(tmp_path, name):
    """What is no container's id names no file."""
    assert memory_kills(name, cgroups=tmp_path) is None


def test_kills_that_no_event_told(tmp_path):
    """A kill is news once, and not where an event told it already."""
    counters = KillCounters(cgroups=tmp_path)
    counters.watch(ID)
    assert counters.news() == []
    write(tmp_path, PLACES[0], V1.format(2))
    assert counters.news() == [ID]
    assert counters.news() == []
    counters.told(ID)
    write(tmp_path, PLACES[0], V1.format(3))
    assert counters.news() == []
    write(tmp_path, PLACES[0], V1.format(4))
    assert counters.news() == [ID]
    counters.forget(ID)
    write(tmp_path, PLACES[0], V1.format(9))
    assert counters.news() == []
