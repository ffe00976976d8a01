import claude_agent_sdk as sdk
from shim.context import ContextGauge

from orchestrator.protocol.sandbox_events import ContextMeasured


def answer(used: int, *, model: str = "m", parent: str | None = None) -> sdk.AssistantMessage:
    usage = {"input_tokens": used - 3, "cache_read_input_tokens": 2, "output_tokens": 1}
    return sdk.AssistantMessage(content=[], model=model, usage=usage, parent_tool_use_id=parent)


def result(windows: object) -> sdk.ResultMessage:
    return sdk.ResultMessage(
        subtype="success",
        duration_ms=1,
        duration_api_ms=1,
        is_error=False,
        num_turns=1,
        session_id="s",
        model_usage=windows,  # type: ignore[arg-type]
    )


def test_the_last_answer_and_its_models_window_count() -> None:
    """What the main conversation's last answer used, of the window of the model that gave it."""
    gauge = ContextGauge()
    assert gauge.take(answer(100)) is None
    assert gauge.take(answer(900, parent="tool")) is None
    windows = {"m": {"contextWindow": 200_000}, "other": {"contextWindow": 1_000_000}}
    assert gauge.take(result(windows)) == ContextMeasured(used=100, window=200_000)


def test_without_figures_nothing_is_said() -> None:
    """No answer, no window, or values that are no numbers: no measurement, and no exception."""
    assert ContextGauge().take(result({"m": {"contextWindow": 5}})) is None
    gauge = ContextGauge()
    gauge.take(answer(100))
    for windows in (None, {}, {"m": None}, {"m": {"contextWindow": "many"}}):
        assert gauge.take(result(windows)) is None
