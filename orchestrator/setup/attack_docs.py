"""The table of attacks in `docs/security.md`, read from the tests' decorators.

The tests are parsed, not imported: the table is made where neither Docker nor pytest is.
"""

import ast
from pathlib import Path

import msgspec

from orchestrator.setup.field_docs import cell

DECORATOR = "attack"
HEAD = ("| case | what is tried | what it protects | test |", "| --- | --- | --- | --- |")


class Attack(msgspec.Struct, frozen=True, kw_only=True):
    """One decorated test."""

    cases: tuple[str, ...]
    tried: str
    protects: str
    file: str
    test: str


def attack_table(folder: Path) -> str:
    """A Markdown table of every attack in the folder's tests, in the order of their cases.

    Raises ValueError where a decorator cannot be read.
    """
    found = [attack for file in sorted(folder.glob("test_*.py")) for attack in _attacks(file)]
    return "\n".join([*HEAD, *map(_row, sorted(found, key=lambda attack: attack.cases))])


def _attacks(file: Path) -> list[Attack]:
    tests = ast.parse(file.read_text()).body
    return [
        _attack(call, test=test.name, file=file.name)
        for test in tests
        if isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef)
        for call in test.decorator_list
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        if call.func.id == DECORATOR
    ]


def _attack(call: ast.Call, *, test: str, file: str) -> Attack:
    words = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
    try:
        return msgspec.convert(
            words
            | {"cases": [ast.literal_eval(case) for case in call.args]}
            | {"file": file, "test": test},
            type=Attack,
        )
    except msgspec.ValidationError as error:
        raise ValueError(f"{file}: the attack of {test} cannot be read: {error}") from error


def _row(attack: Attack) -> str:
    columns = (", ".join(attack.cases), cell(attack.tried), cell(attack.protects))
    name = attack.test.removeprefix("test_").replace("_", " ")
    return f"| {' | '.join(columns)} | [{name}](../tests/attacks/{attack.file}) |"
