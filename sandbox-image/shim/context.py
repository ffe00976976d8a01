"""How full the model's context is, from what the CLI says anyway.

The CLI can be asked (`get_context_usage`), but then counts every part of its prompt at the model
API: dozens of requests. The last answer's own usage says the same; each result names the window.
"""

from claude_agent_sdk import AssistantMessage, Message, ResultMessage

from orchestrator.protocol.sandbox_events import ContextMeasured
from shim.foreign_values import as_dict, as_int, as_text

COUNTED = (
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
)


class ContextGauge:
    """Remembers the last answer of the main conversation; subagents have contexts of their own."""

    def __init__(self) -> None:
        self._used = 0
        self._model = ""

    def take(self, message: Message) -> ContextMeasured | None:
        """The measurement that a turn's result brings, if there is one to make."""
        if isinstance(message, AssistantMessage) and message.parent_tool_use_id is None:
            usage = as_dict(message.usage)
            used = sum(as_int(usage.get(name)) for name in COUNTED)
            if used > 0:
                self._used, self._model = used, as_text(message.model)
        if isinstance(message, ResultMessage):
            return self._measured(message)
        return None

    def _measured(self, result: ResultMessage) -> ContextMeasured | None:
        windows = {
            name: as_int(as_dict(usage).get("contextWindow"))
            for name, usage in as_dict(result.model_usage).items()
        }
        window = windows.get(self._model) or max(windows.values(), default=0)
        if self._used <= 0 or window <= 0:
            return None
        return ContextMeasured(used=self._used, window=window)
