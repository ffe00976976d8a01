import subprocess
import sys
from pathlib import Path

SHIM = Path(__file__).parents[3] / "sandbox-image"

LIGHT = """
import sys
sys.path[:0] = {paths!r}
from shim.deferred_imports import import_sdk
assert import_sdk(), "the SDK needs the stand-ins for more than its import"
import shim.service
assert not {{"mcp", "jsonschema", "pydantic"}} & set(sys.modules)
import jsonschema
assert jsonschema.validate
"""
HEAVY = """
import sys, types
sys.path[:0] = {paths!r}
from shim import deferred_imports
del deferred_imports.StandIn.__or__, deferred_imports.StandIn.__ror__
assert not deferred_imports.import_sdk()
import claude_agent_sdk, mcp
assert mcp.types.Tool.model_validate
assert claude_agent_sdk.ClaudeSDKClient
"""


def run(program: str) -> None:
    source = program.format(paths=[str(SHIM), str(SHIM.parent)])
    subprocess.run([sys.executable, "-c", source], check=True, timeout=60)


def test_the_sdk_is_imported_without_what_the_shim_does_not_use():
    """The SDK works without mcp and jsonschema loaded, and later imports find the real ones."""
    run(LIGHT)


def test_an_sdk_that_needs_more_is_imported_in_full():
    """Where stand-ins are not enough, the plain import takes their place."""
    run(HEAVY)
