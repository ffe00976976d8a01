"""The rules about bodies, against a sandbox that tries to get round them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.gateway.refusals import Refused
from orchestrator.gateway.request_rules import (
    MAX_STRUCTURE,
    BodyLimits,
    check_body,
    model_allowed,
    parse_strictly,
)

LIMITS = BodyLimits(models=("claude-*",), max_tokens=128_000, max_bytes=1 << 20)
PLAIN: dict[str, Any] = {
    "model": "claude-opus-5-5",
    "max_tokens": 128_000,
    "messages": [{"role": "user", "content": "hello"}],
}


def check(body: Any, *, answers: bool = True) -> str:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return check_body(raw, LIMITS, answers=answers).model


def refused(body: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        check(body)
    return caught.value


def with_block(block: dict[str, Any]) -> dict[str, Any]:
    return PLAIN | {"messages": [{"role": "user", "content": [block]}]}


def test_what_the_agent_sends_passes() -> None:
    """A body as the CLI writes it, with tools, thinking, images and system messages."""
    body = PLAIN | {
        "stream": True,
        "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
        "thinking": {"type": "adaptive", "display": "updates"},
        "metadata": {"user_id": "x"},
        "context_management": {"edits": []},
        "output_config": {"effort": "medium"},
        "mcp_servers": [],
        "container": None,
        "tools": [
            {"name": "Bash", "input_schema": {"type": "object", "properties": {"type": {}}}},
            {"name": "Own", "type": "custom", "input_schema": {}, "defer_loading": True},
        ],
        "messages": [
            {"role": "user", "content": "hello"},
            {"role": "system", "content": [{"type": "text", "text": "environment"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "t", "name": "Bash", "input": {"file_id": "mine"}}
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t",
                        "content": [
                            {"type": "tool_reference", "tool_name": "x"},
                            {"type": "image", "source": {"type": "base64", "data": ""}},
                        ],
                    },
                    {"type": "document", "source": {"type": "text", "data": "x"}},
                ],
            },
        ],
    }
    assert check(body) == "claude-opus-5-5"


def test_a_token_count_needs_no_max_tokens() -> None:
    """Counting produces nothing that could be limited."""
    body = {name: value for name, value in PLAIN.items() if name != "max_tokens"}
    assert check(body, answers=False) == "claude-opus-5-5"
    assert refused(body).status == 400


@pytest.mark.parametrize(
    "field",
    ["mcp_servers", "container", "fallbacks", "speed", "service_tier", "user_profile_id", "thread"],
)
@pytest.mark.parametrize("value", [{"a": 1}, "x", [1], True, 0])
def test_fields_that_reach_further_are_refused(field: str, value: object) -> None:
    """Any value but null or [] of a field that is not known is a 403 that names the field."""
    caught = refused(PLAIN | {field: value})
    assert caught.status == 403
    assert field in caught.sentence


@pytest.mark.parametrize(
    "kind",
    ["web_search_20250305", "web_fetch_20250910", "code_execution_20250825", "mcp_toolset", "", 1],
)
def test_tools_of_the_provider_are_refused(kind: object) -> None:
    """A tool with a type of its own is one that the provider runs."""
    assert refused(PLAIN | {"tools": [{"name": "x", "type": kind}]}).status == 403


@pytest.mark.parametrize("key", ["tool", "tools"])
def test_tools_that_come_later_are_refused_too(key: str) -> None:
    """A conversation may add tools in its middle: the same rule holds there."""
    tool = {"type": "web_fetch_20250910", "name": "web_fetch"}
    block = {"type": "tool_addition", key: tool if key == "tool" else [tool]}
    assert refused(with_block(block)).status == 403


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "source": {"type": "url", "url": "http://169.254.169.254/"}},
        {"type": "document", "source": {"type": "url", "url": "https://x"}},
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
        {"type": "image", "source": {"type": ["url"], "url": "x"}},
        {"type": "image", "source": {"url": "x"}},
        {"type": "container_upload", "file_id": "f"},
        {"type": "tool_result", "content": [{"type": "image", "source": {"type": "url"}}]},
        {"type": "tool_result", "content": {"type": "image", "source": {"type": "url"}}},
        {
            "type": "document",
            "source": {
                "type": "content",
                "content": [{"type": "image", "source": {"type": "url", "url": "x"}}],
            },
        },
    ],
)
def test_what_the_provider_would_fetch_is_refused(block: dict[str, Any]) -> None:
    """URLs and stored files, however deep in the content they stand."""
    assert refused(with_block(block)).status == 403
    assert refused(PLAIN | {"system": [block]}).status == 403


SPELT_OTHERWISE = [
    rb'"tools":[{"type":"web_\u0073earch_20250305"}]',
    rb'"tools":[{"\u0074ype":"code_execution_1"}]',
    rb'"tools":[{"type":"custom","Type":"mcp"}]',
    rb'"tools":[{"TYPE":"web_fetch_20250910"}]',
    rb'"mcp_\u0073ervers":[{"url":"http://x"}]',
    rb'"system":[{"type":"image","source":{"type":"\u0075rl","url":"http://x"}}]',
    rb'"system":[{"type":"image","Source":{"type":"url","url":"http://x"}}]',
    rb'"system":[{"type":"image","source":{"type":"text","Type":"url","url":"http://x"}}]',
    rb'"system":[{"Content":[{"type":"image","source":{"type":"url","url":"http://x"}}]}]',
]


@pytest.mark.parametrize("part", SPELT_OTHERWISE)
def test_other_spellings_of_the_same_are_the_same(part: bytes) -> None:
    """Escapes are read as what they stand for, and no key hides behind another case."""
    raw = b'{"model":"claude-x","max_tokens":1,"messages":[],' + part + b"}"
    assert refused(raw).status in (400, 403)


@pytest.mark.parametrize(
    "choice",
    ["auto", ["tool"], {"type": "web_search_20250305"}, {"name": "x"}, {"type": ["tool"]}, 1],
)
def test_a_choice_of_tools_names_no_tool_of_the_provider(choice: object) -> None:
    """One of the four plain ways to choose."""
    assert refused(PLAIN | {"tool_choice": choice}).status in (400, 403)


def test_the_plain_choices_of_tools_pass() -> None:
    """Those that the CLI makes."""
    for choice in ({"type": "auto"}, {"type": "tool", "name": "Bash"}, {"type": "none"}):
        assert check(PLAIN | {"tool_choice": choice})


@pytest.mark.parametrize(
    "metadata",
    [{"user_id": 1}, {"user_id": "x" * 2000}, {"organization": "x"}, "x", ["user_id"], 1],
)
def test_metadata_names_nobody_else(metadata: object) -> None:
    """A short `user_id` as the CLI makes it, and nothing beside."""
    assert refused(PLAIN | {"metadata": metadata}).status in (400, 403)


@pytest.mark.parametrize(
    "model", ["claude-\n", "claude-\x00", "claude-" + "x" * 300, "claude-é", "claude-x y"]
)
def test_a_name_of_a_model_is_a_plain_word(model: str) -> None:
    """It stands in logs and metrics: no control characters, no other alphabets, no end."""
    assert refused(PLAIN | {"model": model}).status == 403


def test_a_suffix_is_part_of_the_name() -> None:
    """An exact name does not let its variants pass; a prefix does."""
    limits = BodyLimits(models=("claude-sonnet-4-5",), max_tokens=128_000, max_bytes=1 << 20)
    body = json.dumps(PLAIN | {"model": "claude-sonnet-4-5[1m]"}).encode()
    with pytest.raises(Refused):
        check_body(body, limits, answers=True)
    assert check_body(body, LIMITS, answers=True).model == "claude-sonnet-4-5[1m]"


@pytest.mark.parametrize("value", [10**9, -1, 1.5, "1", True, None, [1], 128_001])
def test_max_tokens_is_bounded(value: object) -> None:
    """A whole number up to the limit, nothing that a lenient parser would take for one."""
    assert refused(PLAIN | {"max_tokens": value}).status == 400


@pytest.mark.parametrize(
    ("model", "status"),
    [("gpt-5", 403), ("", 400), (None, 400), (["claude-x"], 400), ({"a": 1}, 400), (1, 400)],
)
def test_the_model_has_to_be_an_allowed_name(model: object, status: int) -> None:
    """One string, allowed by the profile."""
    assert refused(PLAIN | {"model": model}).status == status


def test_models_are_matched_exactly_or_by_prefix() -> None:
    """Only a final `*` is special."""
    assert model_allowed("claude-opus-5-5", ("claude-opus-5-5",))
    assert not model_allowed("claude-opus-5-5-x", ("claude-opus-5-5",))
    assert model_allowed("claude-opus-5-5-x", ("x", "claude-opus-5-5*"))
    assert not model_allowed("xclaude-opus", ("claude-*",))
    assert not model_allowed("claude-opus", ("claude-*s",))
    assert not model_allowed("anything", ())


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"null",
        b"{}{}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1,}',
        b"{'a': 1}",
        b'{"a": 1} x',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b'{"a": "\xff"}',
        b'{"a": "\x01"}',
        '{"a": 1}'.encode("utf-16"),
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"a": ' + b"9" * 10_000 + b"}",
        b"// x\n{}",
    ],
)
def test_what_is_not_plain_json_is_refused(raw: bytes) -> None:
    """Other encodings, extensions of JSON, and depths that break parsers are a 400."""
    with pytest.raises(Refused) as caught:
        parse_strictly(raw, max_bytes=1 << 20)
    assert caught.value.status == 400


def test_a_body_that_would_fill_the_memory_is_refused() -> None:
    """Small on the wire, large when parsed."""
    with pytest.raises(Refused):
        parse_strictly(b"[" + b"[]," * MAX_STRUCTURE + b"[]]", max_bytes=1 << 30)


NAMES = st.sampled_from(["model", "max_tokens", "messages", "tools", "mcp_servers", "x"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(name=NAMES, first=VALUES, second=VALUES, depth=st.integers(0, 4))
def test_a_repeated_key_is_refused_at_any_depth(
    name: str, first: object, second: object, depth: int
) -> None:
    """Two readers could disagree on which one counts, so neither does."""
    pair = f'{{"{name}": {json.dumps(first)}, "{name}": {json.dumps(second)}}}'
    raw = '{"a": [' * depth + pair + "]}" * depth
    with pytest.raises(Refused) as caught:
        parse_strictly(raw.encode(), max_bytes=1 << 20)
    assert "twice" in caught.value.sentence


@given(escaped=st.sampled_from(["\\u006dodel", "mo\\u0064el", "\\u006D\\u006Fdel"]))
def test_an_escaped_key_is_the_same_key(escaped: str) -> None:
    """Spelling a key with escapes hides neither it nor its repetition."""
    raw = f'{{"model": "claude-x", "{escaped}": "gpt-5"}}'
    with pytest.raises(Refused):
        parse_strictly(raw.encode(), max_bytes=1 << 20)


@given(body=st.dictionaries(NAMES, VALUES), extra=st.binary(max_size=64))
def test_nothing_but_a_refusal_comes_out(body: dict[str, Any], extra: bytes) -> None:
    """Any body whatever is passed or refused with a 4xx; no other error ever escapes."""
    for raw in (json.dumps(body).encode(), json.dumps(PLAIN | body).encode(), extra):
        assert outcome(raw) in (200, 400, 403, 413)


def outcome(raw: bytes) -> int:
    try:
        check(raw)
    except Refused as refusal:
        return refusal.status
    return 200


@given(text=st.text(max_size=200))
def test_what_is_said_is_not_judged(text: str) -> None:
    """The rules are about the form: any prompt passes."""
    assert check(PLAIN | {"messages": [{"role": "user", "content": text}]})
