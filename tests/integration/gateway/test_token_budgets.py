"""What becomes of a session whose tokens are used up, with the raw socket and with the real CLI."""

import asyncio
from pathlib import Path

import msgspec

from orchestrator.testing.scripted_model import ScriptedModel

from .conftest import PROFILE, SLOT, Door, RecordingWatcher, open_gateway, prompt, until


async def test_a_used_budget_refuses_and_tells_once(
    tmp_path: Path, watcher: RecordingWatcher, model: ScriptedModel
) -> None:
    """The answer that reaches the limit is whole; every later request is a clear 403, and the
    people are told once."""
    door = Door(tmp_path / "gw.sock")
    profile = msgspec.structs.replace(PROFILE, token_budget=20)
    async with open_gateway(door.path, watcher, model.url, profile=profile, token_budget=10**9):
        assert (await door.post(prompt("!say 30 words", stream=True)))[0] == 200
        for _ in range(3):
            status, _, content = await door.post(prompt("hello"))
            assert status == 403
            assert "budget of 20 tokens" in msgspec.json.decode(content)["error"]["message"]
        body = {"model": "claude-x", "messages": []}
        assert (await door.post(body, path="/v1/messages/count_tokens"))[0] == 200
    assert watcher.tags == ["token_budget_used"]
    assert len([seen for seen in model.requests if seen.path == "/v1/messages"]) == 1


async def test_many_at_once_go_over_by_one_request_at_most(
    tmp_path: Path, watcher: RecordingWatcher, model: ScriptedModel
) -> None:
    """Twelve requests that start together do not all pass because nothing was used yet."""
    door = Door(tmp_path / "gw.sock")
    async with open_gateway(door.path, watcher, model.url, token_budget=2000) as gateway:
        body = prompt("!slow 0.3\n!say 40 words", max_tokens=900)
        answers = await asyncio.gather(*(door.post(body) for _ in range(12)))
        statuses = [answer[0] for answer in answers]
        assert statuses.count(200) == 2
        assert statuses.count(429) == 10
        assert 0 < gateway._slots[SLOT].admission.budget.used < 2000
        assert (await door.post(body))[0] == 200


async def test_what_failed_costs_nothing_and_who_hangs_up_pays(
    tmp_path: Path, watcher: RecordingWatcher, model: ScriptedModel
) -> None:
    """An error of the model leaves the budget as it was; a request that is given up before its
    answer, which would have come whole, counts as its prompt and all that the answer might be."""
    door = Door(tmp_path / "gw.sock")
    async with open_gateway(door.path, watcher, model.url, token_budget=10**6) as gateway:
        budget = gateway._slots[SLOT].admission.budget
        await door.post(prompt("!fail 500"))
        assert budget.used == 0
        async with door.client() as client:
            system = "x" * 4000
            body = prompt("!slow 60\n!say 3 words", system=system, stream=False, max_tokens=1000)
            request = asyncio.create_task(client.post("/v1/messages", json=body))
            await until(lambda: len(model.requests) == 2)
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
        await until(lambda: 2000 <= budget.used < 2200)
