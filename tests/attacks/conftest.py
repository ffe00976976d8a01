"""A whole Casemate under attack from inside its sandboxes, and the table of what became of it."""

import os
import secrets
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator

import docker
import pytest

from orchestrator.sandboxes.image_builder import BuiltImage
from orchestrator.testing.background_model import background_model
from orchestrator.testing.chat_client import ApiClient
from orchestrator.testing.running_casemate import RunningCasemate, running_casemate
from orchestrator.testing.scripted_model import ScriptedModel

from .intruder import Intruder

PASSWORD = "correct horse battery staple"
KEY = f"sk-ant-test-{secrets.token_hex(16)}"
IMPATIENT_LINK = {  # so that a stopped shim and a flood are found out in seconds, not in a minute
    "CASEMATE_LINK_PING_INTERVAL": "1",
    "CASEMATE_LINK_PING_LIMIT": "6",
    "CASEMATE_LINK_FLOOD_LIMIT": "4",
}


@pytest.fixture(scope="package")
def model() -> Iterator[ScriptedModel]:
    with background_model(require_key=KEY) as running:
        yield running


@pytest.fixture(scope="package")
def runtime(docker_engine: docker.DockerClient) -> str:
    """What runs the sandboxes: `runc`, or `runsc` where gVisor is registered with the engine or
    CASEMATE_ENGINE_RUNTIME asks for it. Some walls stand elsewhere then; the tests say which."""
    asked = os.environ.get("CASEMATE_ENGINE_RUNTIME", "auto")
    offered = docker_engine.info().get("Runtimes") or {}
    if asked == "runsc" and "runsc" not in offered:
        pytest.skip("gVisor's runsc is not registered; run `./just attack --gvisor`")
    return "runsc" if asked != "runc" and "runsc" in offered else "runc"


@pytest.fixture(scope="package")
def casemate(
    sandbox_image: BuiltImage, model: ScriptedModel, runtime: str
) -> Iterator[RunningCasemate]:
    environment = IMPATIENT_LINK | {
        "CASEMATE_ENGINE_RUNTIME": runtime,
        "ANTHROPIC_API_KEY": KEY,
        "CASEMATE_GATEWAY_UPSTREAM_URL": model.url,
        "CASEMATE_POOL_MINIMUM": "2",
        "CASEMATE_POOL_MAXIMUM": "6",
    }
    with running_casemate(environment, users={"ada": PASSWORD, "bob": PASSWORD}) as running:
        yield running


@pytest.fixture
async def ada(casemate: RunningCasemate) -> AsyncIterator[ApiClient]:
    """Her sandbox is hostile."""
    async with ApiClient.signed_in(casemate.url, "ada", PASSWORD) as client:
        yield client


@pytest.fixture
async def bob(casemate: RunningCasemate) -> AsyncIterator[ApiClient]:
    """Her neighbour."""
    async with ApiClient.signed_in(casemate.url, "bob", PASSWORD) as client:
        yield client


@pytest.fixture
async def intruder(ada: ApiClient) -> AsyncIterator[Intruder]:
    """In a sandbox of its own, which no other test gets."""
    async with Intruder.of(ada) as inside:
        yield inside


@pytest.fixture
async def neighbour(bob: ApiClient) -> AsyncIterator[Intruder]:
    """The same at Bob's: what it can do tells what the intruder left it."""
    async with Intruder.of(bob) as inside:
        yield inside


# --- the table ---------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "attack(*cases, tried, protects): an attack on the walls")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if (mark := item.get_closest_marker("attack")) is not None:
            cases = {"cases": mark.args, "tried": mark.kwargs["tried"]}
            item.user_properties.append(("attack", cases))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    tried: dict[str, Counter[str]] = defaultdict(Counter)
    totals: Counter[str] = Counter()
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            for cases in (v for name, v in report.user_properties if name == "attack"):
                totals[outcome] += 1
                for case in cases["cases"]:
                    tried[case][outcome] += 1
    if not tried:
        return
    terminalreporter.section("attacks")
    terminalreporter.write_line("case   withstood  failed  skipped")
    for case, counts in sorted(tried.items()):
        failed = counts["failed"] + counts["error"]
        terminalreporter.write_line(
            f"{case}  {counts['passed']:>9}  {failed:>6}  {counts['skipped']:>7}"
        )
    failed = totals["failed"] + totals["error"]
    terminalreporter.write_line(
        f"{len(tried)} cases in {totals.total()} attacks: {totals['passed']} withstood, "
        f"{failed} failed, {totals['skipped']} skipped"
    )
