"""What people read when the model API fails."""

import typing

import aiohttp
import pytest

from orchestrator.gateway.failures import (
    Fault,
    explain_error_event,
    explain_fault,
    explain_status,
    status_of_fault,
)
from orchestrator.gateway.upstream import fault_of

EXPLAINED = [401, 402, 403, 404, 429, 500, 502, 503, 504, 529]


def test_each_failure_has_a_tag_a_sentence_and_an_advice() -> None:
    """Sentences end with a full stop, and tell what to do."""
    failures = [explain_status(status) for status in EXPLAINED]
    failures += [explain_fault(fault) for fault in typing.get_args(Fault)]
    for failure in failures:
        assert failure is not None
        assert failure.tag.startswith("upstream_")
        assert failure.sentence.endswith(".")
        assert failure.advice.endswith(".")
    tags = [failure.tag for failure in failures if failure]
    assert len(set(tags)) == len(tags) - 3  # 500, 502, 503 and 504 are one


def test_a_refused_key_names_what_to_check() -> None:
    """The admin's variable stands in the advice."""
    failure = explain_status(401)
    assert failure is not None
    assert "ANTHROPIC_API_KEY" in failure.advice


@pytest.mark.parametrize("status", [400, 408, 409, 413, 422])
def test_the_request_own_affairs_are_not_explained(status: int) -> None:
    """The agent tells those by itself."""
    assert explain_status(status, message="prompt is too long") is None


def test_an_empty_account_is_explained_though_it_is_a_400() -> None:
    """The API says so in words alone."""
    failure = explain_status(400, message="Your credit balance is too low to access ...")
    assert failure is not None
    assert failure.tag == "upstream_unpaid"


@pytest.mark.parametrize("retry_after", ["7", "soon", "", "-1", "9" * 40, "²"])
def test_a_wait_is_named_where_it_is_a_number(retry_after: str) -> None:
    """Retry-after goes into the advice; nonsense does not."""
    failure = explain_status(429, retry_after=retry_after)
    assert failure is not None
    assert ("7 seconds" in failure.advice) == (retry_after == "7")


@pytest.mark.parametrize(
    ("kind", "tag"),
    [
        ("overloaded_error", "upstream_overloaded"),
        ("rate_limit_error", "upstream_rate_limited"),
        ("api_error", "upstream_error"),
        ("never_heard_of", "upstream_error"),
    ],
)
def test_an_error_event_is_explained_like_its_status(kind: str, tag: str) -> None:
    """Inside a stream the status has long been 200."""
    assert explain_error_event(kind).tag == tag


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (TimeoutError(), "timeout"),
        (aiohttp.ServerTimeoutError(), "timeout"),
        (aiohttp.ServerDisconnectedError(), "cut"),
        (aiohttp.ClientPayloadError(), "cut"),
        (ConnectionResetError(), "cut"),
        (aiohttp.ClientOSError(), "cut"),
        (aiohttp.InvalidURL("x"), "unreadable"),
        (aiohttp.ClientError(), "unreadable"),
    ],
)
def test_every_foreign_error_is_a_fault(error: Exception, fault: Fault) -> None:
    """None is passed on as itself."""
    assert fault_of(error) == fault
    assert status_of_fault(fault) == (504 if fault == "timeout" else 502)
