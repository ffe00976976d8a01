"""What the doctor found out about one thing, and how a person and a program read it."""

import textwrap
from collections import Counter
from collections.abc import Iterable
from typing import Literal

import msgspec

Verdict = Literal["good", "warning", "bad"]
MARKS: dict[Verdict, str] = {"good": "✓", "warning": "!", "bad": "✗"}
ABOUT_WIDTH, TEXT_WIDTH = 18, 92


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`advice` says what to do, where there is something to do."""

    about: str
    verdict: Verdict
    text: str
    advice: str = ""


def good(about: str, text: str) -> Finding:
    return Finding(about=about, verdict="good", text=text)


def warning(about: str, text: str, advice: str) -> Finding:
    return Finding(about=about, verdict="warning", text=text, advice=advice)


def bad(about: str, text: str, advice: str) -> Finding:
    return Finding(about=about, verdict="bad", text=text, advice=advice)


def readable(findings: Iterable[Finding]) -> list[str]:
    """Lines for a terminal: each finding, what to do about it below, and the sums at the end."""
    found = list(findings)
    lines = [line for finding in found for line in _lines(finding)]
    counts = Counter(finding.verdict for finding in found)
    sums = f"{counts['bad']} bad, {counts['warning']} to improve, {counts['good']} good."
    end = "Casemate cannot work well here until the bad ones are gone." if counts["bad"] else ""
    return [*lines, "", f"{sums} {end}".rstrip()]


def _lines(finding: Finding) -> list[str]:
    head = f"{MARKS[finding.verdict]} {finding.about:<{ABOUT_WIDTH}}"
    room = " " * len(head)
    lines = textwrap.wrap(
        finding.text, TEXT_WIDTH, initial_indent=head, subsequent_indent=room,
        break_on_hyphens=False, break_long_words=False,
    )  # fmt: skip
    if finding.advice:
        lines += textwrap.wrap(
            finding.advice, TEXT_WIDTH, initial_indent=f"{room}→ ", subsequent_indent=f"{room}  ",
            break_on_hyphens=False, break_long_words=False,
        )  # fmt: skip
    return lines
