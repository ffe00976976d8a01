from pathlib import Path

import pytest

from orchestrator.setup import web_page
from orchestrator.setup.checkout import Checkout
from orchestrator.setup.errors import PageNotBuilt

NPM = """#!/bin/sh
echo "$*" >>"$LOG"
case "$1" in
ci) rm -rf node_modules && mkdir node_modules ;;
run) [ ! -e fail ] || { echo broken; exit 1; }; mkdir -p "$5" && cp src/main.ts "$5/index.html" ;;
esac
"""


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An npm that writes down how it was called, and a page that is its source."""
    program, log = tmp_path / "npm", tmp_path / "log"
    program.write_text(NPM)
    program.chmod(0o755)
    monkeypatch.setattr(web_page, "npm_program", lambda: str(program))
    monkeypatch.setenv("LOG", str(log))
    log.touch()
    return log


def page(checkout: Checkout) -> str:
    return (checkout.page / "index.html").read_text()


def test_built_once(checkout: Checkout, npm: Path, progress):
    """A page that is current is not built again."""
    web_page.ensure_page(checkout, progress=progress)
    calls = npm.read_text().splitlines()
    assert calls[0] == "ci --ignore-scripts"
    web_page.ensure_page(checkout, progress=progress)
    assert npm.read_text().splitlines() == calls
    assert page(checkout) == "one"


def test_built_again_when_a_source_changes(checkout: Checkout, npm: Path, progress):
    """A changed source builds the page again, without installing the packages again."""
    web_page.ensure_page(checkout, progress=progress)
    (checkout.web / "src" / "main.ts").write_text("two")
    web_page.ensure_page(checkout, progress=progress)
    assert page(checkout) == "two"
    assert npm.read_text().count("ci ") == 1


def test_packages_follow_the_lock(checkout: Checkout, npm: Path, progress):
    """Another lock installs the packages again."""
    web_page.ensure_packages(checkout, progress=progress)
    (checkout.web / "package-lock.json").write_text("{ }")
    web_page.ensure_packages(checkout, progress=progress)
    assert npm.read_text().count("ci ") == 2


def test_interrupted_install(checkout: Checkout, npm: Path, progress):
    """Packages that were only half installed are installed again."""
    (checkout.web / "node_modules").mkdir()
    web_page.ensure_packages(checkout, progress=progress)
    assert npm.read_text().count("ci ") == 1


def test_failed_build_keeps_the_old_page(checkout: Checkout, npm: Path, progress):
    """A build that fails says why and leaves the page as it was."""
    web_page.ensure_page(checkout, progress=progress)
    (checkout.web / "fail").touch()
    with pytest.raises(PageNotBuilt, match="broken"):
        web_page.ensure_page(checkout, progress=progress)
    assert page(checkout) == "one"


def test_times_do_not_matter(checkout: Checkout):
    """The digest tells contents and names, not times, and tells a moved byte between two files."""
    before = web_page.source_digest(checkout.web)
    source = checkout.web / "src" / "main.ts"
    source.write_text("one")
    assert web_page.source_digest(checkout.web) == before
    source.rename(source.with_name("other.ts"))
    assert web_page.source_digest(checkout.web) != before


def test_npm_says_why_first():
    """Of npm's long complaints the first lines are told, of a build's output the last."""
    complaints = [f"npm error {n}" for n in range(100)]
    assert web_page.telling_lines(complaints)[0] == "npm error 0"
    assert web_page.telling_lines([str(n) for n in range(100)])[-1] == "99"
