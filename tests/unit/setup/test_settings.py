from pathlib import Path

import msgspec
import pytest

from orchestrator.profiles import BadProfiles, load_catalogue
from orchestrator.protocol.ids import ProfileName
from orchestrator.sandboxes.errors import BadPoolSize
from orchestrator.sandboxes.pool_view import PoolView
from orchestrator.sandboxes.remembered_sizes import RememberedSizes
from orchestrator.sessions.watch.situation import Situation
from orchestrator.sessions.watch.watch import next_look
from orchestrator.settings import BadSetting, Settings, load_settings, variable
from orchestrator.testing.memory_stores import MemoryPoolSizes

DEFAULT = ProfileName("default")
OPERATING = Path(__file__).parents[3] / "docs" / "operating.md"


def test_settings_come_from_variables_aliases_and_files(tmp_path: Path) -> None:
    """A field's variable, a customary name and a mounted secret all reach their field."""
    secret = tmp_path / "key"
    secret.write_text("sk-1\n")
    settings = load_settings(
        {
            "CASEMATE_PORT": "9000",
            "CASEMATE_POOL_MINIMUM": "3",
            "CASEMATE_API_ORIGINS": "https://a.example, https://b.example",
            "ANTHROPIC_API_KEY_FILE": str(secret),
            "PATH": "/bin",
        }
    )
    assert settings.server.url == "http://127.0.0.1:9000"
    assert settings.pool.minimum == 3
    assert settings.api.origins == ("https://a.example", "https://b.example")
    assert settings.model.api_key.reveal() == "sk-1"
    assert "sk-1" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CASEMATE_POOL_MINIMUN", "3", "CASEMATE_POOL_MINIMUM"),
        ("CASEMATE_POOL_MINIMUM", "many", "CASEMATE_POOL_MINIMUM"),
        ("ANTHROPIC_API_KEY_FILE", "/nowhere/at/all", "ANTHROPIC_API_KEY_FILE"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(name: str, value: str, said: str) -> None:
    """An unknown name is told with its neighbour, a bad value with its variable."""
    with pytest.raises(BadSetting, match=said):
        load_settings({name: value})


def test_the_documented_profile_file_is_read(tmp_path: Path) -> None:
    """The example of the manual works as it stands there."""
    example = OPERATING.read_text().split("```toml\n")[1].split("```")[0]
    path = tmp_path / "profiles.toml"
    path.write_text(example)
    (profile,) = load_catalogue(path, model="m").profiles()
    assert profile.name == "review"
    assert profile.agent.disallowed_tools == ["Write", "Edit"]
    assert profile.resources.memory == 1536 << 20
    assert load_catalogue(None, model="m").profile(DEFAULT).agent.model == "m"


@pytest.mark.parametrize(
    "environment",
    [
        {"CASEMATE_SLOTS_FIRST_UID": "0"},
        {"CASEMATE_SLOTS_FIRST_UID": "9999"},
        {"CASEMATE_SLOTS_FIRST_UID": "-5"},
        {"CASEMATE_SLOTS_UIDS": "0"},
        {"CASEMATE_SLOTS_UIDS": "59"},
        {"CASEMATE_SLOTS_UIDS": "60000"},
        {"CASEMATE_SLOTS_FIRST_UID": "2147483600", "CASEMATE_SLOTS_UIDS": "60"},
        {"CASEMATE_SLOTS_UIDS": "100", "CASEMATE_POOL_HOST_MAXIMUM": "101"},
    ],
)
def test_user_ids_that_sandboxes_cannot_have(environment: dict[str, str]) -> None:
    """Those of people, services and nobody, and fewer than there may be sandboxes, are refused."""
    with pytest.raises(BadSetting, match="CASEMATE_SLOTS_"):
        load_settings(environment)


def test_a_profile_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """Its file is not taken, and says which profile, what is wrong and what it takes."""
    path = tmp_path / "profiles.toml"
    text = OPERATING.read_text().split("```toml\n")[1].split("```")[0]
    path.write_text(text.replace("[profile.resources]", "[profile.resources]\ntmp = 4294967296"))
    with pytest.raises(BadProfiles, match=r"'review' cannot be\. memory is 1536 MiB, and must be"):
        load_catalogue(path, model="m")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ('[profile.checkpoints]\nexcludes = ["ok/", "!"]', r"checkpoints\.excludes: '!' is no"),
        ('[profile.checkpoints]\nexcludes = ["[z-a]"]', r"bad character range"),
        ('[profile.checkpoints]\nexcludes = ["a\\u0000b"]', r"invisible characters"),
        ("[profile.checkpoints]\nmax_seconds = 0.0", r"max_seconds must be above 0"),
        ("[profile.checkpoints]\nkeep = -1", r"keep must be above 0"),
        ("[profile.lifetimes]\nturn = -1.0", r"lifetimes\.turn must be above 0"),
        ("[profile.lifetimes]\nkeep = nan", r"lifetimes\.keep must be above 0"),
        ("[profile.lifetimes]\nmemory_hard = 95.0", r"memory_hard is a part"),
        ("[profile.lifetimes]\nmemory_soft = 0.99", r"must not be above memory_hard"),
    ],
)
def test_what_cannot_be_kept_or_waited_for_is_refused(
    tmp_path: Path, values: str, said: str
) -> None:
    """A pattern that is none, times and parts that no session could live by: told with the
    profile's name when the file is read."""
    path = tmp_path / "profiles.toml"
    path.write_text(f"[[profile]]\nname = 'a'\ntitle = 'A'\nagent.model = 'm'\n{values}\n")
    with pytest.raises(BadProfiles, match=rf"'a', .*{said}"):
        load_catalogue(path, model="m")


def test_never_is_a_time_too(tmp_path: Path) -> None:
    """Whatever may be left out may be infinite."""
    path = tmp_path / "profiles.toml"
    times = "\n".join(f"{name} = inf" for name in ("freeze_after", "turn", "sandbox", "keep"))
    path.write_text(
        f"[[profile]]\nname = 'a'\ntitle = 'A'\nagent.model = 'm'\n[profile.lifetimes]\n{times}\n"
    )
    (profile,) = load_catalogue(path, model="m").profiles()
    assert next_look(Situation(state="idle", now=0.0, idle_since=0.0), profile.lifetimes) > 0


@pytest.mark.parametrize("text", ["", "x", "profile = []", "[[profile]]\nname = 'a'\n"])
def test_a_profile_file_that_cannot_be_used_is_named(tmp_path: Path, text: str) -> None:
    """Whatever is wrong with it, the file is named."""
    path = tmp_path / "profiles.toml"
    path.write_text(text)
    with pytest.raises(BadProfiles, match=r"profiles\.toml"):
        load_catalogue(path, model="m")


class Pools:
    """One pool that takes sizes up to a ceiling."""

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self.sizes = (2, 6)

    def pools(self) -> list[PoolView]:
        return [self._view()]

    async def resize(self, _profile: ProfileName, *, minimum: int, maximum: int) -> PoolView:
        if maximum > self.ceiling:
            raise BadPoolSize
        self.sizes = (minimum, maximum)
        return self._view()

    def _view(self) -> PoolView:
        low, high = self.sizes
        return PoolView(
            profile=DEFAULT, min=low, max=high, ready=0, stale=0, starting=0, claimed=0,
            leaving=0, waiting=0, image_version="", members=[], counters={},
        )  # fmt: skip


async def test_sizes_that_an_admin_set_outlive_a_restart() -> None:
    """They are applied at the next start, and passed over where the host no longer allows them."""
    kept = MemoryPoolSizes()
    await RememberedSizes(Pools(60), kept).resize(DEFAULT, minimum=4, maximum=9)
    again, smaller = Pools(60), Pools(5)
    await RememberedSizes(again, kept).restore()
    await RememberedSizes(smaller, kept).restore()
    assert again.sizes == (4, 9)
    assert smaller.sizes == (2, 6)


def test_no_setting_is_taken_for_a_file_of_another() -> None:
    """No variable ends in `_FILE` by itself: that ending means that the value stands in a file."""
    for section in msgspec.structs.fields(Settings):
        for field in msgspec.structs.fields(section.type):
            assert not variable(section.name, field.name).endswith("_FILE")
