"""When the model API counts as down, who decides it, and how it comes back."""

import contextlib
from typing import Any

import pytest

from orchestrator.gateway.failures import explain_error_event, explain_fault, explain_status
from orchestrator.gateway.settings import GatewaySettings
from orchestrator.gateway.upstream_breaker import Attempt, UpstreamBreaker, UpstreamDown
from orchestrator.protocol.control_events import UpstreamFailed
from orchestrator.protocol.ids import SessionId
from orchestrator.telemetry.health import pool_check, summary, upstream_check

UNREACHABLE = explain_fault("unreachable")


def status(code: int) -> UpstreamFailed:
    failure = explain_status(code)
    assert failure is not None
    return failure


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.now = 1000.0
        self.told: list[tuple[bool, str, str | None]] = []
        monkeypatch.setattr("circuitbreaker.monotonic", lambda: self.now)
        self.breaker = UpstreamBreaker(
            GatewaySettings(**settings), on_state=self._tell, now=lambda: self.now
        )

    def _tell(self, *, is_open: bool, sentence: str, until: str | None) -> None:
        self.told.append((is_open, sentence, until))

    def fail(self, session: str = "a", failure: UpstreamFailed = UNREACHABLE) -> None:
        with self.breaker.attempt(SessionId(session)) as attempt:
            attempt.failed(failure)

    def succeed(self, session: str = "a") -> None:
        with self.breaker.attempt(SessionId(session)) as attempt:
            attempt.begins_well()
            attempt.answered()

    def is_refused(self, session: str = "z") -> bool:
        try:
            with self.breaker.attempt(SessionId(session)):
                return False
        except UpstreamDown:
            return True

    def open(self) -> None:
        for n in range(5):
            self.fail(f"s{n}")
        assert self.is_refused()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_it_opens_after_failures_in_a_row_and_tells_once(world: World) -> None:
    """Five failures and nobody is sent on; everybody is told once, with a sentence and a time."""
    for _ in range(4):
        world.fail()
    world.succeed()
    for _ in range(4):
        world.fail()
    assert not world.told
    world.fail()
    [(is_open, sentence, until)] = world.told
    assert is_open
    assert "could not be reached" in sentence
    assert until is not None
    assert until.endswith("Z")
    assert all(world.is_refused(session) for session in ("a", "b"))
    assert len(world.told) == 1
    assert world.breaker.problem == sentence


@pytest.mark.parametrize(
    "failure",
    [
        *(status(code) for code in (500, 502, 503, 504, 529)),
        explain_fault("timeout"),
        explain_fault("cut"),
        explain_error_event("overloaded_error"),
    ],
    ids=lambda failure: failure.tag,
)
def test_no_session_opens_it_alone_by_its_own_requests(
    world: World, failure: UpstreamFailed
) -> None:
    """One unlucky session, or one that likes to annoy, stops itself and nobody else; a second one
    with the same failure shows that it is not the session's doing."""
    for _ in range(50):
        world.fail("unlucky", failure)
    assert not world.is_refused()
    world.fail("second", failure)
    world.fail("second", failure)
    assert world.is_refused()


@pytest.mark.parametrize("code", [401, 402, 403, 404, 429])
def test_answers_that_are_no_outage(world: World, code: int) -> None:
    """What the account or a session does wrong, rate limits included, is an answer: it stops
    nobody, and it shows that the upstream is there."""
    for _ in range(4):
        world.fail()
    for n in range(20):
        world.fail(f"s{n}", status(code))
    world.fail()
    assert not world.told


def test_what_ends_without_a_word_does_not_count(world: World) -> None:
    """A client that hangs up and a sandbox that breaks say nothing about the upstream."""
    for _ in range(50):
        with world.breaker.attempt(SessionId("a")):
            pass
        with (
            pytest.raises(ConnectionResetError),
            world.breaker.attempt(SessionId("a")),
        ):
            raise ConnectionResetError
    assert not world.is_refused()


def test_failures_far_apart_do_not_add_up(world: World) -> None:
    """Where nobody writes for hours, five failures in a row are no outage."""
    for _ in range(10):
        world.fail()
        world.now += 61
    assert not world.told


def test_one_request_tries_and_the_others_wait_for_it(world: World) -> None:
    """After the pause one passes; the rest are refused until its answer has begun, then all pass,
    and everybody is told that it is over."""
    world.open()
    world.now += 15.1
    with world.breaker.attempt(SessionId("first")) as probe:
        assert world.is_refused()
        assert world.is_refused("first")
        probe.begins_well()
        assert not world.is_refused()
        probe.answered()
    assert [is_open for is_open, _, _ in world.told] == [True, False]
    assert world.breaker.problem is None


def test_a_try_that_fails_begins_a_new_pause(world: World) -> None:
    """One failure is enough then, whoever's it is; it is the same outage with a later end."""
    world.open()
    with pytest.raises(UpstreamDown) as first, world.breaker.attempt(SessionId("a")):
        pass
    world.now += 15.1
    world.fail("a", status(503))
    with pytest.raises(UpstreamDown) as second, world.breaker.attempt(SessionId("a")):
        pass
    assert first.value.opening == second.value.opening
    assert 14 <= second.value.seconds <= 16
    assert [is_open for is_open, _, _ in world.told] == [True, True]


def test_a_try_that_stalls_gives_its_place_up(world: World) -> None:
    """A request that hangs, or whose sandbox was frozen, keeps the others waiting for a limited
    time; what hangs up before it knows anything, not at all."""
    world.open()
    world.now += 15.1
    with world.breaker.attempt(SessionId("hangs")):
        assert world.is_refused()
        world.now += 15.1
        world.succeed("another")
    world.open()
    world.now += 15.1
    with world.breaker.attempt(SessionId("hangs up")):
        pass
    world.succeed("another")
    assert world.breaker.problem is None


@pytest.mark.parametrize("how", ["fails", "hangs", "hangs up"])
def test_no_session_keeps_it_open(world: World, how: str) -> None:
    """Whose own requests fail, hang or are given up cannot be the one that tries again and again:
    who was turned away comes first, and its answer ends the outage."""
    world.open()
    kept = contextlib.ExitStack()

    def annoy() -> None:
        with contextlib.suppress(UpstreamDown):
            attempt = kept.enter_context(world.breaker.attempt(SessionId("annoys")))
            if how == "fails":
                attempt.failed(status(500))
            if how == "hangs up":
                kept.close()

    for _ in range(50):  # it is quicker than anybody, always
        world.now += 1
        annoy()
        if world.now == 1020.0:
            assert world.is_refused("somebody") == (how != "hangs up")
        if world.now == 1036.0:
            world.succeed("patient")
    kept.close()
    assert world.breaker.problem is None


def test_alone_it_tries_again_at_once(world: World) -> None:
    """Where nobody else waits, the one session tries after each pause."""
    for _ in range(5):
        world.fail("alone")
    for _ in range(3):
        world.now += 15.1
        world.fail("alone", status(503))
    world.now += 15.1
    world.succeed("alone")
    assert world.breaker.problem is None


def test_late_answers_change_nothing(world: World) -> None:
    """What was sent before the outage and ends in it neither closes it nor makes it longer."""
    early = [Attempt(world.breaker, SessionId("a"), era=world.breaker._era) for _ in range(3)]
    world.open()
    early[0].answered()
    assert world.is_refused()
    world.now += 10
    early[1].failed(UNREACHABLE)
    world.now += 5.1
    with world.breaker.attempt(SessionId("probe")) as probe:
        early[2].failed(UNREACHABLE)
        probe.answered()
    assert world.breaker.problem is None


def test_a_model_api_that_is_down_is_no_broken_casemate() -> None:
    """Health says so and stays up: a restart would only cost the sessions."""
    checks = [upstream_check("It is down."), upstream_check(None)]
    assert [check.status for check in checks] == ["degraded", "ok"]
    assert summary(checks).status == "degraded"
    assert summary([*checks, pool_check(_broken_pool())]).status == "failed"


def _broken_pool() -> Any:
    from orchestrator.telemetry.health import PoolFigures

    return PoolFigures(profile="p", min=1, ready=0, claimed=0, problem="No room.")
