import pytest

from orchestrator.protocol.sandbox_events import AgentDied
from orchestrator.sandboxes.errors import LinkViolated
from orchestrator.sandboxes.exit_reasons import LINK_TAGS, TAGS, Evidence, ending

FLOOD = LinkViolated("It flooded.", tag="link_flooded")


CASES = [
    (Evidence(destroyed=True, exited=True, exit_code=137), "destroyed"),
    (Evidence(violation=FLOOD, exited=True, exit_code=137, oom_kills=3), "link_flooded"),
    (Evidence(oom_killed=True, exited=True, exit_code=137), "out_of_memory"),
    (Evidence(oom_kills=1, exited=True, exit_code=137), "out_of_memory"),
    (Evidence(oom_kills=1, agent_died=AgentDied(exit_code=-9)), "out_of_memory"),
    (Evidence(oom_kills=1, exited=True, exit_code=0), "exited"),
    (Evidence(agent_died=AgentDied(exit_code=-9)), "agent_died"),
    (Evidence(agent_died=AgentDied(text="no"), exited=True, exit_code=1), "agent_died"),
    (Evidence(exited=True, exit_code=137), "killed"),
    (Evidence(exited=True, exit_code=143), "killed"),
    (Evidence(engine_away=True, exited=True, exit_code=137), "engine_restarted"),
    (Evidence(engine_away=True, exited=True), "engine_restarted"),
    (Evidence(engine_away=True, exited=True, exit_code=137, oom_kills=1), "out_of_memory"),
    (Evidence(engine_away=True), "link_lost"),
    (Evidence(broker_lost=True, engine_away=True, exited=True), "broker_lost"),
    (Evidence(exited=True, exit_code=3), "exited"),
    (Evidence(exited=True), "exited"),
    (Evidence(broker_lost=True, exited=True), "broker_lost"),
    (Evidence(broker_lost=True, agent_died=AgentDied(text="no")), "agent_died"),
    (Evidence(), "link_lost"),
    *((Evidence(violation=LinkViolated("It did.", tag=tag)), tag) for tag in LINK_TAGS),
]


@pytest.mark.parametrize(("evidence", "tag"), CASES)
def test_reasons(evidence, tag):
    """Each end has its tag, by order of certainty, and one plain sentence."""
    told = ending(evidence)
    assert told.tag == tag
    assert told.sentence.endswith(".")
    assert "None" not in told.sentence
    assert told.sentence.count(".") == 1, "how it goes on is for others to say"


def test_every_tag():
    """There is a case for each tag, and no other tag."""
    assert {tag for _, tag in CASES} == set(TAGS)


def test_what_the_agent_said_is_cut():
    """A dead agent's last words are told, but not at any length."""
    said = ending(Evidence(agent_died=AgentDied(text="x" * 10_000))).sentence
    assert 100 < len(said) < 500


def test_what_the_agent_said_is_plain():
    """Control characters in a dead agent's last words do not reach a terminal or a page."""
    assert "\x1b" not in ending(Evidence(agent_died=AgentDied(text="a\x1b[31mb\r\nc"))).sentence
