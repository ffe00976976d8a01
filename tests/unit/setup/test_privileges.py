from pathlib import Path

from msgspec.structs import replace

from orchestrator.settings import Settings
from orchestrator.setup.privileges import for_operator


def test_root_changes_nothing():
    """Root uses the settings as they are, and nothing is weaker."""
    assert for_operator(Settings(), uid=0, environment={}) == (Settings(), None)


def test_others_get_slots_that_they_may_write():
    """Without root the slots are in the user's own runtime directory, and the price is told."""
    found, weaker = for_operator(Settings(), uid=7, environment={"XDG_RUNTIME_DIR": "/run/user/7"})
    assert found.slots.root == Path("/run/user/7/casemate/slots")
    assert "your own user id" in (weaker or "")


def test_no_runtime_directory():
    """Where the system gives a user none, a folder named after them is taken."""
    found, _ = for_operator(Settings(), uid=7, environment={})
    assert "7" in str(found.slots.root)


def test_chosen_slots_stay():
    """A root that the operator chose is used as it is."""
    chosen = Settings()
    chosen = replace(chosen, slots=replace(chosen.slots, root=Path("/s")))
    found, weaker = for_operator(chosen, uid=7, environment={})
    assert found == chosen
    assert weaker
