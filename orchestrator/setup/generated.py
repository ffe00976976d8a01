"""Writes the files that are made from the code, or checks that they are current.

python -m orchestrator.setup.generated            writes them
python -m orchestrator.setup.generated --check    fails, naming those that are out of date
"""

import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from orchestrator.protocol.typescript import typescript
from orchestrator.setup.attack_docs import attack_table
from orchestrator.setup.checkout import Checkout, this_checkout
from orchestrator.setup.protocol_docs import protocol_page
from orchestrator.setup.rest_types import rest_types
from orchestrator.setup.settings_docs import inserted, settings_tables


class GeneratedFile(msgspec.Struct, frozen=True, kw_only=True):
    path: Path
    render: Callable[[str], str]
    """From the file's text as it is (some hold hand-written parts too) to what it should be."""


def generated_files(checkout: Checkout) -> list[GeneratedFile]:
    return [
        GeneratedFile(
            path=checkout.web / "src" / "protocol" / "chat.generated.ts",
            render=lambda _text: typescript(),
        ),
        GeneratedFile(
            path=checkout.web / "src" / "protocol" / "rest.generated.ts",
            render=lambda _text: rest_types(),
        ),
        GeneratedFile(
            path=checkout.docs / "protocol.md",
            render=lambda _text: protocol_page(),
        ),
        GeneratedFile(
            path=checkout.docs / "operating.md",
            render=lambda text: inserted(text, settings_tables()),
        ),
        GeneratedFile(
            path=checkout.docs / "security.md",
            render=lambda text: inserted(text, attack_table(checkout.attacks)),
        ),
    ]


def out_of_date(files: list[GeneratedFile]) -> list[Path]:
    return [file.path for file in files if file.render(_text(file.path)) != _text(file.path)]


def write(files: list[GeneratedFile]) -> None:
    for file in files:
        text = _text(file.path)
        if (newer := file.render(text)) != text:
            file.path.parent.mkdir(parents=True, exist_ok=True)
            file.path.write_text(newer)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def main(arguments: list[str]) -> int:
    files = generated_files(this_checkout())
    if "--check" not in arguments:
        write(files)
        return 0
    stale = out_of_date(files)
    for path in stale:
        sys.stderr.write(f"{path} is out of date: run `./just generate`.\n")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
