"""What is written to the log while people sign in, work and fail."""

import io
import logging

import pytest
import structlog

from orchestrator.telemetry.account_log import AccountLog
from orchestrator.telemetry.logs import configure_logs
from orchestrator.telemetry.metrics import Metrics
from orchestrator.telemetry.settings import TelemetrySettings

PASSWORD = "plain tortoise umbrella"


@pytest.fixture
def log():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logs(TelemetrySettings(log_format="json", log_level="debug"), stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_neither_passwords_nor_tokens_nor_prompts_are_logged(log, door, monkeypatch):
    """Signing in well and badly, refreshing, links, a fault with everything in its locals."""
    door.accounts._watcher = AccountLog(Metrics())
    secrets = [PASSWORD, "wrong but secret", "the prompt is private"]
    anonymous = door.anonymous
    body = {"username": "ada", "password": PASSWORD}
    pair = anonymous.post("/api/v1/auth/token", json=body).json()
    secrets += [pair["access_token"], pair["refresh_token"].split(".")[1]]
    anonymous.post("/api/v1/auth/login", json={"username": "ada", "password": "wrong but secret"})
    page = door.browser("ada")
    secrets += [page.cookie("at"), page.cookie("rt").split(".")[1], page.cookie("csrf")]
    user = door.run(door.accounts.find_user("bob"))
    code = door.run(door.accounts.create_sign_in_link(user.id)).code
    secrets.append(code.split(".")[1])
    anonymous.post("/api/v1/auth/link", json={"code": code})
    session = page.client.post("/api/v1/sessions", json={}).json()["id"]
    prompt = {"text": "the prompt is private"}
    page.client.post(f"/api/v1/sessions/{session}/prompts", json=prompt)

    async def broken(*_, **__):
        raise RuntimeError(f"Bearer {pair['access_token']}")

    monkeypatch.setattr(door.accounts, "login", broken)
    failed = anonymous.post("/api/v1/auth/token", json=body)
    assert failed.status_code == 500
    written = log.getvalue()
    assert "request.failed" in written
    assert "sign_in.succeeded" in written
    assert "sign_in.refused" in written
    for secret in secrets:
        assert secret not in written
