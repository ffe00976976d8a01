import re
from pathlib import Path

import pytest

from orchestrator.profiles import BadProfiles, load_catalogue
from orchestrator.sandboxes.image_version import REPOSITORY

RULE = '[[profile.agent.forbidden]]\ntool = "Bash"\npattern = "{pattern}"\n{more}'
PROFILE = '[[profile]]\nname = "p"\ntitle = "P"\n[profile.agent]\nmodel = "m"\n'


def loaded(folder: Path, text: str):
    path = folder / "profiles.toml"
    path.write_text(text)
    return load_catalogue(path, model="m").profiles()[0].agent


def test_the_documentations_rules_can_be_used(tmp_path: Path):
    """The page's first example is a profile that loads."""
    page = (REPOSITORY / "docs" / "policies.md").read_text()
    example = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    agent = loaded(tmp_path, example[1])
    assert (len(agent.forbidden), len(agent.prompt_rules)) == (1, 2)


@pytest.mark.parametrize(
    ("pattern", "more", "reason"),
    [
        ("(?=x)", "", r"'p'.*cannot be used"),
        ("x", 'reasn = "typo"', "reasn"),
        ("x", '[[profile.agent.prompt_rules]]\npattern="x"\naction="blok"\ntext="t"', "blok"),
        ("x", "[profile.agent.forbiden]", "forbiden"),
    ],
)
def test_a_rule_that_would_not_hold_is_told_at_the_start(tmp_path, pattern, more, reason):
    """A pattern that the engine does not know and a misspelt field are errors, not gaps."""
    with pytest.raises(BadProfiles, match=reason):
        loaded(tmp_path, PROFILE + RULE.format(pattern=pattern, more=more))
