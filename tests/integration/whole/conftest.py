"""A whole Casemate in front of a scripted model: what these tests talk to, over the public API."""

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from orchestrator.sandboxes.image_builder import BuiltImage
from orchestrator.testing.background_model import background_model
from orchestrator.testing.chat_client import ApiClient
from orchestrator.testing.running_casemate import RunningCasemate, running_casemate
from orchestrator.testing.scripted_model import ScriptedModel

PASSWORD = "correct horse battery staple"
KEY = f"sk-ant-test-{secrets.token_hex(16)}"


@pytest.fixture(scope="package")
def model() -> Iterator[ScriptedModel]:
    with background_model(require_key=KEY) as running:
        yield running


def environment(model: ScriptedModel) -> dict[str, str]:
    return {
        "ANTHROPIC_API_KEY": KEY,
        "CASEMATE_GATEWAY_UPSTREAM_URL": model.url,
        "CASEMATE_POOL_MINIMUM": "2",
        "CASEMATE_POOL_MAXIMUM": "8",
    }


@pytest.fixture(scope="package")
def casemate(sandbox_image: BuiltImage, model: ScriptedModel) -> Iterator[RunningCasemate]:
    people = {"admin": PASSWORD, "ada": PASSWORD, "bob": PASSWORD}
    with running_casemate(environment(model), users=people) as running:
        yield running


@pytest.fixture
async def ada(casemate: RunningCasemate) -> AsyncIterator[ApiClient]:
    async with ApiClient.signed_in(casemate.url, "ada", PASSWORD) as client:
        yield client


@pytest.fixture
async def bob(casemate: RunningCasemate) -> AsyncIterator[ApiClient]:
    async with ApiClient.signed_in(casemate.url, "bob", PASSWORD) as client:
        yield client


@pytest.fixture
async def admin(casemate: RunningCasemate) -> AsyncIterator[ApiClient]:
    async with ApiClient.signed_in(casemate.url, "admin", PASSWORD) as client:
        yield client


@pytest.fixture
async def session(ada: ApiClient) -> AsyncIterator[str]:
    """A session of Ada's that is ready; ended afterwards."""
    view = await ada.create()
    yield view["id"]
    await ada.end(view["id"])
