"""Progress that remembers, and a small checkout to work on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.setup.checkout import Checkout


class RememberedProgress:
    def __init__(self) -> None:
        self.steps: list[str] = []
        self.notes: list[str] = []
        self.said: list[str] = []

    @contextmanager
    def step(self, title: str) -> Iterator["RememberedProgress"]:
        self.steps.append(title)
        yield self

    def say(self, detail: str) -> None:
        self.said.append(detail)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def progress() -> RememberedProgress:
    return RememberedProgress()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    web = tmp_path / "a b" / "web"
    (web / "src").mkdir(parents=True)
    (web / "src" / "main.ts").write_text("one")
    (web / "package.json").write_text("{}")
    (web / "package-lock.json").write_text("{}")
    return Checkout(root=tmp_path / "a b")
