"""Every error as problem details (RFC 9457): the same words over HTTP and in a frame.

A refusal of ours carries its tag and sentence. What the framework refuses is translated. Anything
else is a fault of ours: it is logged with its request id, and the answer tells no more than that.
"""

from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    SerializationException,
    ValidationException,
)

from orchestrator.accounts.errors import AccountError
from orchestrator.api.errors import RequestRefused
from orchestrator.protocol.chat import Problem
from orchestrator.sessions.errors import RuleBroken

MEDIA_TYPE = "application/problem+json"

Refusal = AccountError | RuleBroken | RequestRefused

_log = structlog.stdlib.get_logger("casemate.api")


def problem_of(error: Refusal) -> Problem:
    return Problem(tag=error.tag, title=error.sentence, detail=error.advice, status=error.status)


def internal_problem(request_id: str) -> Problem:
    return Problem(
        tag="internal_error",
        title="Something went wrong in Casemate itself.",
        detail=f"Try again. If it persists, tell the operator this id: {request_id}.",
        status=500,
    )


def refusal_response(_: Request[Any, Any, Any], error: Refusal) -> Response[Problem]:
    headers: dict[str, str] = {}
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        headers["Retry-After"] = str(max(1, int(retry_after)))
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="casemate"'
    return problem_response(problem_of(error), headers)


def framework_response(request: Request[Any, Any, Any], error: HTTPException) -> Response[Problem]:
    if error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return fault_response(request, error)
    kept = {name: value for name, value in (error.headers or {}).items() if name in _KEPT}
    return problem_response(_framework_problem(error), kept)


def malformed_response(
    _: Request[Any, Any, Any], _error: SerializationException | RecursionError
) -> Response[Problem]:
    problem = Problem(
        tag="malformed", title="The body is not valid JSON.", detail="Check its syntax.", status=400
    )
    return problem_response(problem)


def fault_response(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    request_id = str(request.scope.get("state", {}).get("request_id", "none"))
    _log.error("request.failed", request_id=request_id, exc_info=error)
    return problem_response(internal_problem(request_id))


def problem_response(problem: Problem, headers: dict[str, str] | None = None) -> Response[Problem]:
    return Response(
        problem, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers or {}
    )


_KEPT = {"Allow", "allow"}


def _framework_problem(error: HTTPException) -> Problem:
    match error:
        case ValidationException():
            return Problem(
                tag="invalid",
                title="The request does not have the expected form.",
                detail=_fields_of(error),
                status=422,
            )
        case NotFoundException():
            return Problem(
                tag="not_found",
                title="There is nothing at this address.",
                detail="The API is described at /api/v1/openapi.json.",
                status=404,
            )
        case MethodNotAllowedException():
            return Problem(
                tag="method_not_allowed",
                title="This address does not take that method.",
                status=405,
            )
    if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return Problem(
            tag="too_large",
            title="The request is too large.",
            detail="Shorten it.",
            status=413,
        )
    phrase = HTTPStatus(error.status_code).phrase
    return Problem(tag="refused", title=f"{phrase}.", status=error.status_code)


def _fields_of(error: ValidationException) -> str:
    """`text: Expected ...`, for each field at fault."""
    found = error.extra if isinstance(error.extra, list) else []
    said = [
        f"{item.get('key', 'body')}: {item['message']}"
        for item in found
        if isinstance(item, dict) and isinstance(item.get("message"), str)
    ]
    return "; ".join(said[:20])


def invalid_response(
    _: Request[Any, Any, Any], error: msgspec.ValidationError
) -> Response[Problem]:
    problem = Problem(
        tag="invalid",
        title="The request does not have the expected form.",
        detail=str(error),
        status=422,
    )
    return problem_response(problem)


EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {
    AccountError: refusal_response,
    RuleBroken: refusal_response,
    RequestRefused: refusal_response,
    SerializationException: malformed_response,
    RecursionError: malformed_response,  # JSON that is nested thousands deep
    msgspec.ValidationError: invalid_response,
    HTTPException: framework_response,
    Exception: fault_response,
}
