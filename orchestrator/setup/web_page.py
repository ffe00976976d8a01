"""Builds the web page when its sources changed, with the Node that the environment brings along.

What is built is known by the digest of its sources, not by times: a fresh clone has none that mean
anything. The page is swapped in whole, so that a process that serves never sees half of one.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from orchestrator.setup.checkout import Checkout
from orchestrator.setup.errors import PageNotBuilt
from orchestrator.setup.file_lock import file_lock
from orchestrator.setup.progress import Progress, Step

NOT_SOURCES = frozenset({"node_modules", "dist"})
KEPT_LINES = 500
TOLD_LINES = 20


def source_digest(web: Path) -> str:
    """SHA-256 over the names and contents of everything that the page is built from."""
    digest = hashlib.sha256()
    for path in sorted(_sources(web)):
        content = path.read_bytes()
        name = path.relative_to(web).as_posix().encode()
        digest.update(b"%d %d " % (len(name), len(content)) + name + content)
    return digest.hexdigest()


def _sources(web: Path) -> Iterator[Path]:
    for entry in web.iterdir():
        if entry.name in NOT_SOURCES or entry.name.startswith("."):
            continue
        yield from (p for p in entry.rglob("*") if p.is_file()) if entry.is_dir() else (entry,)


def packages_digest(web: Path) -> str:
    """SHA-256 over what decides which packages are installed, and where they are."""
    digest = hashlib.sha256(str(web.resolve()).encode())
    for name in ("package.json", "package-lock.json"):
        digest.update((web / name).read_bytes())
    return digest.hexdigest()


def is_stale(checkout: Checkout) -> bool:
    built = checkout.page / "index.html"
    return not built.exists() or _read(_page_stamp(checkout)) != source_digest(checkout.web)


def ensure_packages(checkout: Checkout, *, progress: Progress) -> None:
    """`node_modules` as the lock says. Raises PageNotBuilt."""
    with file_lock(checkout.cache / "web.lock"):
        _ensure_packages(checkout, progress=progress)


def ensure_page(checkout: Checkout, *, progress: Progress) -> None:
    """The page, built from the sources as they are now. Raises PageNotBuilt."""
    if not is_stale(checkout):
        return
    with file_lock(checkout.cache / "web.lock"):
        if not is_stale(checkout):
            return
        digest = source_digest(checkout.web)
        _ensure_packages(checkout, progress=progress)
        with progress.step("Building the web page") as step:
            _build(checkout, step=step)
        _page_stamp(checkout).write_text(digest)


def _ensure_packages(checkout: Checkout, *, progress: Progress) -> None:
    # Inside node_modules, which `npm ci` removes first: an interrupted install leaves no stamp.
    stamp = checkout.web / "node_modules" / ".casemate-packages"
    digest = packages_digest(checkout.web)
    if _read(stamp) == digest:
        return
    with progress.step("Installing the web page's packages") as step:
        _npm(["ci", "--ignore-scripts"], checkout=checkout, step=step)
        stamp.write_text(digest)


def _build(checkout: Checkout, *, step: Step) -> None:
    new, old = checkout.cache / "page.new", checkout.cache / "page.old"
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    _npm(
        ["run", "build", "--", "--outDir", str(new), "--emptyOutDir"], checkout=checkout, step=step
    )
    if not (new / "index.html").exists():
        raise PageNotBuilt("The web page's build said it succeeded, and left no page.")
    if checkout.page.exists():
        checkout.page.rename(old)
    new.rename(checkout.page)
    shutil.rmtree(old, ignore_errors=True)


def _npm(arguments: list[str], *, checkout: Checkout, step: Step) -> None:
    command = [npm_program(), *arguments]
    output: list[str] = []
    try:
        with subprocess.Popen(  # noqa: S603 -- npm of this environment, fixed arguments
            command,
            cwd=checkout.web,
            env=npm_environment(checkout),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            for line in process.stdout or ():
                step.say(line)
                output = [*output, line.rstrip()][-KEPT_LINES:]
    except OSError as error:
        raise PageNotBuilt(f"npm could not be started: {error.strerror}.") from error
    if process.returncode:
        raise PageNotBuilt(
            f"npm {' '.join(arguments[:2])} failed:\n" + "\n".join(telling_lines(output)),
            advice="Is the npm registry to be reached from here?" if arguments[0] == "ci" else "",
        )


def telling_lines(output: list[str]) -> list[str]:
    """The lines that say why it failed: npm tells that first, other tools last."""
    told = [line for line in output if line.startswith("npm error")]
    return told[:TOLD_LINES] if len(told) > TOLD_LINES else output[-TOLD_LINES:]


def npm_program() -> str:
    """npm beside this Python, else the machine's. Raises PageNotBuilt."""
    beside = Path(sys.executable).with_name("npm")
    found = str(beside) if beside.exists() else shutil.which("npm")
    if found is None:
        raise PageNotBuilt(
            "There is no npm to build the web page with.",
            advice="Run `./just up`, which brings one along.",
        )
    return found


def npm_environment(checkout: Checkout) -> dict[str, str]:
    here = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "PATH": f"{here}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "CI": "true",
        "NO_COLOR": "1",
        "npm_config_cache": str(checkout.cache / "npm"),
        "npm_config_audit": "false",
        "npm_config_fund": "false",
        "npm_config_update_notifier": "false",
    }


def _page_stamp(checkout: Checkout) -> Path:
    return checkout.cache / "page.digest"


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
