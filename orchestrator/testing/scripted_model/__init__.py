"""The scripted model: a Messages API endpoint that follows a script instead of thinking.

For: tests, benches and machines without a key, with the real CLI in front of it. Not for:
pretending to be Claude: the built-in script says what it is.
"""

from orchestrator.testing.scripted_model.script import Script, built_in_script, load_script
from orchestrator.testing.scripted_model.server import RecordedRequest, ScriptedModel, serve
from orchestrator.testing.scripted_model.writer import Pace

__all__ = [
    "Pace",
    "RecordedRequest",
    "Script",
    "ScriptedModel",
    "built_in_script",
    "load_script",
    "serve",
]
