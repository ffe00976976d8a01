"""What all tiers share: the real things that tests need, and the rule that CI skips nothing.

Elsewhere a test whose Docker, image or browser is missing is skipped with a reason; with CI=true it
fails with the same reason, so that a green run has run everything.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from orchestrator.sandboxes import image_builder
from orchestrator.sandboxes.image_base import ImageBuildFailed
from tests.database_place import DatabasePlace, PostgresPlace, SqlitePlace
from tests.postgres_server import NoPostgres, PostgresServer, running_postgres
from tests.s3_server import S3Server

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true"}


class ToldAtOnce:
    """Says what failed when it fails: a long run need not come to its end for that."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and reporter is not None:
            reporter.write_line(f"\nFAILED {report.nodeid} ({report.when})")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(ToldAtOnce(config), "told-at-once")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome = yield
    _forbid_skipping(outcome.get_result(), item.nodeid)


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    outcome = yield
    _forbid_skipping(outcome.get_result(), collector.nodeid)


def _forbid_skipping(report: pytest.TestReport | pytest.CollectReport, name: str) -> None:
    """An expected failure (xfail) says what it is; a skip only says that nothing was tested."""
    if in_ci() and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{name} was skipped, and in CI nothing may be: {reason}"


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[docker.DockerClient]:
    """A client of the Docker engine that `casemate prepare engine` provides."""
    try:
        client = docker.from_env(timeout=60)
        client.ping()
    except docker.errors.DockerException as error:
        pytest.skip(f"no Docker engine answers ({error}); run `./just up` or `./just test`")
    yield client
    client.close()


@pytest.fixture(scope="session")
def sandbox_image(docker_engine: docker.DockerClient) -> image_builder.BuiltImage:
    """The sandbox image, current."""
    assert docker_engine is not None
    try:
        image = image_builder.find_image()
        stale = image_builder.is_stale()
    except ImageBuildFailed as error:
        pytest.skip(str(error))
    if image is None or stale:
        pytest.skip("the sandbox image is missing or stale; run `./just image`")
    return image


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server for these tests alone."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(running_postgres())
        except NoPostgres as error:
            pytest.skip(f"no PostgreSQL ({error}); run `./just test` as root, or install it")
        yield server


@pytest.fixture
def postgres_place(postgres_server: PostgresServer) -> Iterator[PostgresPlace]:
    """A new and empty database on it."""
    place = PostgresPlace(postgres_server)
    yield place
    place.remove()


@pytest.fixture(params=["sqlite", "postgres"])
def database_place(request: pytest.FixtureRequest, tmp_path: Path) -> DatabasePlace:
    """A new and empty database, of each kind in turn."""
    if request.param == "sqlite":
        return SqlitePlace(tmp_path / "data" / "casemate.sqlite")
    place: PostgresPlace = request.getfixturevalue("postgres_place")
    return place


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium."""
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    pytest.skip("there is no Chromium; run `./just test` as root, or install it")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """An S3-compatible server for these tests alone."""
    server = S3Server()
    server.start()
    yield server
    server.stop()
