"""What a tool would run with, as one short string: what a person approves is bound to it.

Computed where the question is asked and again wherever the decision passes.
"""

import hashlib
from typing import Any

import msgspec


def input_hash(tool_name: str, tool_input: dict[str, Any]) -> str:
    """SHA-256 in hex of the tool's name and its input as JSON with sorted keys. Two inputs have the
    same hash only where they are the same to a reader of JSON. Raises ValueError, TypeError or
    RecursionError for what is no JSON."""
    canonical = msgspec.json.encode([tool_name, tool_input], order="sorted")
    return hashlib.sha256(canonical).hexdigest()
