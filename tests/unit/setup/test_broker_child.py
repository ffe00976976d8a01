from pathlib import Path

import pytest
from msgspec.structs import replace

from orchestrator.protocol.secret import Secret
from orchestrator.sandboxes.broker.dialling import BrokerAddress
from orchestrator.sandboxes.settings import BrokerSettings, PoolSettings
from orchestrator.settings import (
    BadSetting,
    ModelSettings,
    ProfilesSettings,
    ServerSettings,
    Settings,
    environment_of,
    load_settings,
)
from orchestrator.setup.broker_child import SECTIONS, child_environment, dialled_broker

KEY = "sk-ant-the-key-of-this-test"
OURS = {
    "PATH": "/usr/bin",
    "DOCKER_HOST": "unix:///run/docker.sock",
    "ANTHROPIC_API_KEY": KEY,
    "CASEMATE_MODEL_API_KEY": KEY,
    "AWS_SECRET_ACCESS_KEY": KEY,
    "GITHUB_TOKEN": KEY,
    "HTTPS_PROXY": f"http://user:{KEY}@proxy.example.org",
    "CASEMATE_ENV_FILE": "/somewhere/.env",
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        server=ServerSettings(data_dir=tmp_path / "data"),
        model=ModelSettings(api_key=Secret(KEY), default="claude-opus-5-5"),
        pool=PoolSettings(host_maximum=7),
        profiles=ProfilesSettings(path=Path("/etc/casemate/profiles.toml")),
        broker=BrokerSettings(grace=1.5),
    )


def test_what_a_broker_is_told(settings: Settings):
    """A broker of ours is told what it needs and nothing else: no key, by whatever name."""
    told = child_environment(settings, OURS)
    assert KEY not in str(told)
    assert told["PATH"] == "/usr/bin"
    assert told["DOCKER_HOST"] == "unix:///run/docker.sock"
    assert told["CASEMATE_ENV_FILE"] == "/dev/null"


def test_it_reads_the_same_settings(settings: Settings):
    """From what it is told a broker reads what concerns it as we have it, and no more."""
    theirs = load_settings(child_environment(settings, OURS))
    for section in set(SECTIONS) - {"engine"}:
        assert getattr(theirs, section) == getattr(settings, section), section
    assert theirs.engine.instance
    assert theirs.model == ModelSettings(default="claude-opus-5-5")
    assert theirs.gateway == Settings().gateway


def test_the_same_installation(settings: Settings):
    """A broker that is started again is of the same installation, so that it finds what it left."""
    first = child_environment(settings, OURS)
    assert child_environment(settings, OURS) == first


def test_secrets_go_to_no_other_process(settings: Settings):
    """Settings that are secret cannot be passed on by mistake."""
    with pytest.raises(BadSetting, match="CASEMATE_MODEL_API_KEY is secret"):
        environment_of(settings, ["model"])


async def test_one_that_runs_already(settings: Settings):
    """With the place of a broker none is started."""
    told = replace(settings, broker=BrokerSettings(socket=Path("/run/casemate/broker.sock")))
    async with dialled_broker(told, environment=OURS) as dial:
        assert isinstance(dial, BrokerAddress)
    assert not settings.server.data_dir.exists()
