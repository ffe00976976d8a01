import pytest

from orchestrator.setup.engine_plan import (
    AwaitEngine,
    Endpoint,
    EngineState,
    Findings,
    Refuse,
    StartEngine,
    UseEngine,
    plan,
)


def endpoint(state: EngineState, *, chosen: bool = False, url: str = "unix:///s") -> Endpoint:
    return Endpoint(url=url, origin="DOCKER_HOST" if chosen else "s", chosen=chosen, state=state)


def found(*endpoints: Endpoint, **facts: bool) -> Findings:
    nothing = dict.fromkeys(
        ("is_root", "can_install", "daemon_installed", "daemon_running", "has_systemd"), False
    )
    return Findings(endpoints=endpoints, **(nothing | facts))


def test_first_that_answers():
    """The first engine that answers is used, even where an earlier socket is dead."""
    decision = plan(found(endpoint("silent"), endpoint("answers", url="unix:///rootless")))
    assert decision == UseEngine(url="unix:///rootless", origin="s")


@pytest.mark.parametrize("state", ["silent", "absent", "forbidden", "elsewhere"])
def test_chosen_engine_is_not_replaced(state: EngineState):
    """An engine that a person named and that fails is told about; no other one is taken."""
    decision = plan(found(endpoint(state, chosen=True), endpoint("answers"), is_root=True))
    assert isinstance(decision, Refuse)
    assert "DOCKER_HOST" in decision.sentence
    assert decision.advice


def test_forbidden_socket():
    """A user outside the group docker is told to join it, and nothing is started."""
    decision = plan(found(endpoint("forbidden"), daemon_installed=True, daemon_running=True))
    assert isinstance(decision, Refuse)
    assert "usermod" in decision.advice


def test_half_started_engine_is_awaited():
    """A dockerd that lives and does not answer yet is waited for, never started a second time."""
    facts = {"is_root": True, "daemon_installed": True, "has_systemd": True}
    assert plan(found(endpoint("silent"), daemon_running=True, **facts)) == AwaitEngine()


@pytest.mark.parametrize("systemd", [True, False])
def test_installed_and_stopped(systemd: bool):
    """Root starts an installed engine, through systemd where that runs the machine."""
    decision = plan(
        found(endpoint("absent"), is_root=True, daemon_installed=True, has_systemd=systemd)
    )
    assert decision == StartEngine(install=False, with_systemd=systemd)


def test_installed_and_not_root():
    """Who cannot start the engine is told how root does."""
    decision = plan(found(endpoint("absent"), daemon_installed=True))
    assert isinstance(decision, Refuse)
    assert "systemctl start docker" in decision.advice


def test_bare_debian_as_root():
    """On a bare Debian root gets an engine installed."""
    decision = plan(found(endpoint("absent"), is_root=True, can_install=True))
    assert decision == StartEngine(install=True, with_systemd=False)


@pytest.mark.parametrize("is_root", [True, False])
def test_bare_machine_otherwise(is_root: bool):
    """Elsewhere one line says what to install."""
    decision = plan(found(endpoint("absent"), is_root=is_root))
    assert isinstance(decision, Refuse)
    assert "nstall" in decision.advice
