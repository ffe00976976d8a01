import ast
from pathlib import Path

LONGEST_FUNCTION = 59
LONGEST_FILE = 400
SAYS_NOTHING = {"utils", "util", "common", "helpers", "helper", "core", "base", "manager", "misc"}


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_names_say_what_things_are(root: Path, tracked: list[Path]):
    """No file and no folder has a name that fits everything."""
    vague = [
        path
        for path in tracked
        if SAYS_NOTHING & {part.split(".")[0].lower() for part in path.relative_to(root).parts}
    ]
    assert vague == []


def test_functions_are_short(shipped_python: list[Path]):
    """No function is longer than a screen."""
    long = [
        f"{path}:{node.lineno} {node.name}"
        for path in shipped_python
        for node in functions(path)
        if (node.end_lineno or 0) - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert long == []


def test_files_are_short(shipped_python: list[Path]):
    """No file has grown into several rooms."""
    long = [path for path in shipped_python if len(path.read_text().splitlines()) > LONGEST_FILE]
    assert long == []


def test_modules_say_what_they_are_for(shipped_python: list[Path]):
    """Every module begins with what it is for."""
    silent = [path for path in shipped_python if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def test_tests_state_a_promise(root: Path, tracked: list[Path]):
    """Every test says in a sentence what it holds the program to."""
    silent = [
        f"{path.relative_to(root)}:{node.lineno} {node.name}"
        for path in tracked
        if path.is_relative_to(root / "tests") and path.name.startswith("test_")
        if path.suffix == ".py"
        for node in functions(path)
        if node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert silent == []
