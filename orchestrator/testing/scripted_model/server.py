"""The scripted model as a server: the Messages API on a TCP port, in process or as a command.

For: tests, benches, demonstrations and machines without a key. Not for: being reached by strangers;
it binds to loopback unless told otherwise.
"""

import asyncio
import hashlib
import hmac
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import msgspec
from aiohttp import web

from orchestrator.testing.scripted_model import message_events as events
from orchestrator.testing.scripted_model.answer import plan_answer
from orchestrator.testing.scripted_model.reading import Reading, read_request
from orchestrator.testing.scripted_model.script import Script, built_in_script
from orchestrator.testing.scripted_model.writer import (
    AnswerWriter,
    Pace,
    error_response,
    json_response,
)

MODELS = ("claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5")
_BODY_LIMIT = 32 << 20
_TRIES_KEPT = 1000
_REQUESTS_KEPT = 1000


class RecordedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`headers` has lower-case names; `body` is what the JSON said, None if there was none."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    at: float = 0.0
    """`time.perf_counter()` when it was read whole."""


class ScriptedModel:
    """Serves while entered. `url` is the base URL, `requests` what came in (the last thousand)."""

    def __init__(
        self,
        *,
        script: Script | None = None,
        pace: Pace | None = None,
        require_key: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._script = script or built_in_script()
        self._pace = pace or Pace()
        self._require_key = require_key
        self._address = (host, port)
        self._tries: OrderedDict[bytes, int] = OrderedDict()
        self._runner: web.AppRunner | None = None
        self._requests: deque[RecordedRequest] = deque(maxlen=_REQUESTS_KEPT)
        self.streaming = 0
        """Answers that are being written, or waited for, now."""
        self.hung_up = 0
        """Answers that the client did not wait for."""

    @property
    def url(self) -> str:
        """Known once the server was entered."""
        if self._runner is None or not self._runner.addresses:
            raise RuntimeError("The scripted model is not running.")
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    @property
    def requests(self) -> list[RecordedRequest]:
        """A copy: it may serve in another thread while somebody looks."""
        return list(self._requests)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=_BODY_LIMIT, middlewares=[self._guard])
        app.add_routes(
            [
                web.post("/v1/messages", self._messages),
                web.post("/v1/messages/count_tokens", self._count_tokens),
                web.get("/v1/models", self._models),
                web.get("/v1/models/{id}", self._model),
            ]
        )
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.2
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, *self._address).start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _guard(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        body = await _json(request)
        headers = {name.lower(): value for name, value in request.headers.items()}
        self._requests.append(
            RecordedRequest(
                method=request.method,
                path=request.path_qs,
                headers=headers,
                body=body,
                at=time.perf_counter(),
            )
        )
        if not self._key_fits(headers):
            return error_response(401)
        try:
            return await handler(request)
        except web.HTTPException as error:
            return error_response(error.status, error.reason)

    def _key_fits(self, headers: dict[str, str]) -> bool:
        if self._require_key is None:
            return True
        given = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(given.encode(), self._require_key.encode())

    async def _models(self, _: web.Request) -> web.Response:
        models = [_model_view(name) for name in MODELS]
        page = {"data": models, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}
        return json_response(msgspec.json.encode(page))

    async def _model(self, request: web.Request) -> web.Response:
        return json_response(msgspec.json.encode(_model_view(request.match_info["id"])))

    async def _count_tokens(self, request: web.Request) -> web.Response:
        usage = events.input_usage(await _object(request))
        return json_response(msgspec.json.encode({"input_tokens": sum(usage.values())}))

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        body = await _object(request)
        reading = read_request(body)
        parts = plan_answer(self._script, reading, earlier_tries=self._count_try(body, reading))
        self.streaming += 1
        try:
            return await AnswerWriter(request, body=body, pace=self._pace).answer(parts)
        except asyncio.CancelledError:
            self.hung_up += 1
            raise
        except ConnectionResetError:
            self.hung_up += 1
            return web.Response()  # goes nowhere, and quietly
        finally:
            self.streaming -= 1

    def _count_try(self, body: dict[str, Any], reading: Reading) -> int:
        """How often this same request came before: what `!fail 529 2 times` counts by."""
        identity = [body.get("metadata"), reading.prompt, reading.position, len(reading.results)]
        identity += [sorted(reading.tools), reading.schema]
        key = hashlib.sha256(msgspec.json.encode(identity)).digest()
        tries = self._tries.pop(key, 0)
        self._tries[key] = tries + 1
        if len(self._tries) > _TRIES_KEPT:
            self._tries.popitem(last=False)
        return tries


async def _json(request: web.Request) -> Any:
    try:
        return msgspec.json.decode(await request.read())
    except msgspec.DecodeError:
        return None


async def _object(request: web.Request) -> dict[str, Any]:
    body = await _json(request)
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
        raise web.HTTPBadRequest(reason="messages: Field required")
    return body


def _model_view(name: str) -> dict[str, str]:
    created = "2025-01-01T00:00:00Z"
    return {"type": "model", "id": name, "display_name": name, "created_at": created}


async def serve(
    host: str, port: int, script: Script | None = None, *, pace: Pace | None = None
) -> None:
    """Serve until cancelled. Raises OSError when the port is taken."""
    async with ScriptedModel(script=script, pace=pace, host=host, port=port):
        await asyncio.Event().wait()
