import ast
import subprocess
import sys
from pathlib import Path

ENVIRONMENT_READERS = {"cli.py", "setup", "testing"}
# The test kit hands its own environment on to the Casemate that it starts.


def test_imports_point_one_way(root: Path, tmp_path: Path):
    """Every contract in .importlinter holds."""
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [program, "--cache-dir", tmp_path], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_settings_are_read_in_one_place(root: Path, shipped_python: list[Path]):
    """Only the command line, what prepares a machine and the test kit read the environment."""
    package = root / "orchestrator"
    readers = {
        path.relative_to(package).parts[0]
        for path in shipped_python
        if path.is_relative_to(package) and reads_environment(path)
    }
    assert readers <= ENVIRONMENT_READERS


def reads_environment(path: Path) -> bool:
    return any(
        isinstance(node, ast.Attribute)
        and node.attr in {"environ", "getenv"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        for node in ast.walk(ast.parse(path.read_text()))
    )


def test_types_are_imported_at_run_time(shipped_python: list[Path]):
    """No import is hidden from the running program: signatures are resolved at run time."""
    hiding = [
        path
        for path in shipped_python
        if any(
            isinstance(node, ast.Name) and node.id == "TYPE_CHECKING"
            for node in ast.walk(ast.parse(path.read_text()))
        )
    ]
    assert hiding == []
