"""A session that outlives its sandboxes, over REST: sleep, waking, and what was not finished."""

import time

import pytest

from orchestrator.protocol.chat import Ending

SESSIONS = "/api/v1/sessions"
KILLED = Ending(tag="killed", sentence="The sandbox was killed.")


class Session:
    def __init__(self, door):
        self.door, self.headers = door, door.bearer("ada")
        self.id = self("POST", "", json={}, path=SESSIONS).json()["id"]

    def __call__(self, method, route="", *, path=None, **options):
        there = path or f"{SESSIONS}/{self.id}{route}"
        return self.door.anonymous.request(method, there, headers=self.headers, **options)

    @property
    def view(self):
        return self("GET").json()

    def events(self, kind):
        told = [e["event"] for e in self("GET", "/events").json()["events"]]
        return [event for event in told if event["type"] == kind]

    def until(self, condition):
        limit = time.monotonic() + 5
        while not (value := condition()):
            assert time.monotonic() < limit, self.view
        return value

    def say(self, text, client_id):
        answer = self("POST", "/prompts", json={"text": text, "client_id": client_id})
        assert answer.status_code == 202

    def accepted(self, route):
        """Ask for it until what was asked before is done."""
        answer = self.until(lambda: (a := self("POST", route)).status_code != 409 and a)
        assert answer.status_code == 202, answer.text

    def lose_in_a_turn(self):
        """A turn that takes its time, whose sandbox is killed."""
        self.say("!slow 600", "c1")
        self.until(lambda: self.events("turn_started"))
        self.door.run(self._lose())
        self.until(lambda: self.view.get("unfinished"))

    async def _lose(self):
        self.door.world.pool.made[-1].lose(KILLED)


@pytest.fixture
def session(door):
    return Session(door)


def test_put_to_sleep_and_woken(session):
    """Both are asked for, and told by the view; a prompt wakes it as well."""
    session.say("hello", "c0")
    session.until(lambda: session.events("turn_ended"))
    session.accepted("/hibernate")
    session.until(lambda: session.view["state"] == "hibernated")
    session.accepted("/wake")
    session.until(lambda: session.view["state"] == "idle")
    assert session.events("sandbox_assigned")[-1]["reason"] == "woken"
    session.accepted("/hibernate")
    session.until(lambda: session.view["state"] == "hibernated")
    session.say("again", "c2")
    session.until(lambda: len(session.events("turn_ended")) == 2)


def test_a_profile_tells_its_lifetimes(door):
    """What the page needs to draw its lines, and what people may want to know."""
    profile = door.anonymous.get("/api/v1/profiles", headers=door.bearer("ada")).json()[0]
    assert 0 < profile["lifetimes"]["memory_soft"] < 1
    assert profile["lifetimes"]["hibernate_after"] > profile["lifetimes"]["freeze_after"]
    assert profile["unfinished"] in {"offer", "run"}
    assert profile["checkpoints_kept"] > 0


def test_what_is_not_unfinished_is_neither_run_again_nor_let_go(session):
    """Both say so; nothing happens."""
    for method, route in (("POST", "/unfinished/c9/run-again"), ("DELETE", "/unfinished/c9")):
        answer = session(method, route)
        assert answer.status_code == 409, answer.text
        assert answer.json()["tag"] == "nothing_unfinished"
    assert session.events("prompt_accepted") == []


def test_what_was_not_finished_is_run_again_once(session):
    """With an id of its own; a second wish for it finds it decided."""
    session.lose_in_a_turn()
    answer = session("POST", "/unfinished/c1/run-again")
    assert answer.status_code == 202, answer.text
    again = answer.json()["client_id"]
    session.until(lambda: not session.view.get("unfinished"))
    assert session.events("prompt_accepted")[-1]["again"] == "c1"
    assert session.events("prompt_accepted")[-1]["client_id"] == again
    assert session("POST", "/unfinished/c1/run-again").status_code == 409


def test_what_was_not_finished_is_let_go(session):
    """And offered no longer."""
    session.lose_in_a_turn()
    assert session("DELETE", "/unfinished/c1").status_code == 204
    session.until(lambda: not session.view.get("unfinished"))
    assert session.events("prompt_let_go")[0]["by"] == "ada"
