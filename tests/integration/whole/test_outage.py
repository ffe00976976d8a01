"""The model API is down for everybody: one notice, prompts that fail fast, and back again."""

import time
from collections.abc import Iterator

import pytest

from orchestrator.sandboxes.image_builder import BuiltImage
from orchestrator.testing.chat_client import ApiClient, Chat
from orchestrator.testing.running_casemate import RunningCasemate, running_casemate
from orchestrator.testing.scripted_model import ScriptedModel

from .conftest import PASSWORD, environment

PAUSE = 4.0


@pytest.fixture(scope="module")
def casemate(sandbox_image: BuiltImage, model: ScriptedModel) -> Iterator[RunningCasemate]:
    settings = environment(model) | {"CASEMATE_GATEWAY_OUTAGE_PAUSE": str(PAUSE)}
    with running_casemate(settings, users={"ada": PASSWORD, "bob": PASSWORD}) as running:
        yield running


def is_told(chat: Chat) -> bool:
    return bool(chat.view) and [notice.tag for notice in chat.view.notices] == ["upstream_down"]


async def test_an_outage_for_all(ada: ApiClient, bob: ApiClient, model: ScriptedModel) -> None:
    """Two sessions meet the failure; then every session has the notice and no request leaves the
    machine; with the first answer the notice is gone everywhere."""
    one, other = (await ada.create())["id"], (await bob.create())["id"]
    async with ada.chat(one) as hers, bob.chat(other) as his:
        for chat in (hers, his):
            ended = await chat.turn("!fail 503")
            assert (ended.outcome, ended.api_error_status) == ("failed", 503)
        await hers.until(is_told)
        await his.until(is_told)
        seen, began = len(model.requests), time.monotonic()
        ended = await his.turn("!say 2 words")
        assert time.monotonic() - began < 2
        assert (ended.outcome, ended.api_error_status) == ("failed", 503)
        assert "Prompts fail at once" in ended.text
        assert len(model.requests) == seen
        while ended.outcome != "completed":
            assert time.monotonic() - began < 5 * PAUSE
            ended = await hers.turn("!say 2 words")
        await hers.until(lambda chat: not chat.view.notices)
        await his.until(lambda chat: not chat.view.notices)
        assert (await his.turn("!say 2 words")).outcome == "completed"
    await ada.end(one)
    await bob.end(other)
