"""The egress proxy: what a profile allows is reached, and nothing else is, by any trick.

The hosts are on the loopback under public addresses; the proxy's rules about addresses are those of
production.
"""

import base64
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from orchestrator.protocol.control_events import EgressRefused
from orchestrator.sandboxes.image_builder import BuiltImage
from orchestrator.testing.chat_client import ApiClient
from orchestrator.testing.running_casemate import RunningCasemate, running_casemate
from orchestrator.testing.scripted_model import ScriptedModel

from .cases import attack
from .conftest import KEY, PASSWORD
from .intruder import Intruder, docker
from .small_internet import USER, SmallInternet, small_internet

HERE = Path(__file__).parent
TOKEN = f"ghx-{secrets.token_hex(16)}"
PROFILES = """
[[profile]]
name = "open"
title = "With egress"
agent = {{ model = "claude-sonnet-4-5" }}

[profile.egress]
max_bytes_up = 2_000_000

[[profile.egress.allow]]
host = "git.test"
inject = {{ secret_file = "{token_file}", scheme = "basic", username = "x-access-token" }}

[[profile.egress.allow]]
host = "pypi.test"

[[profile.egress.allow]]
host = "plain.test"
ports = [80]

[[profile.egress.allow]]
host = "inside.test"

[[profile.egress.allow]]
host = "metadata.test"
ports = [80, 443]

[[profile.egress.allow]]
host = "here.test"

[[profile.egress.allow]]
host = "mapped.test"

[[profile]]
name = "closed"
title = "Without egress"
agent = {{ model = "claude-sonnet-4-5" }}
"""


@pytest.fixture(scope="module")
def internet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallInternet]:
    with small_internet(tmp_path_factory.mktemp("internet"), token=TOKEN) as running:
        yield running


@pytest.fixture(scope="module")
def casemate(
    sandbox_image: BuiltImage, model: ScriptedModel, runtime: str, internet: SmallInternet
) -> Iterator[RunningCasemate]:
    token_file = internet.folder / "token"
    token_file.write_text(f"{TOKEN}\n")
    profiles = internet.folder / "profiles.toml"
    profiles.write_text(PROFILES.format(token_file=token_file))
    environment = {
        "CASEMATE_ENGINE_RUNTIME": runtime,
        "CASEMATE_PROFILES_PATH": str(profiles),
        "CASEMATE_EGRESS_CA_BUNDLE": str(internet.ca_file),
        "CASEMATE_POOL_MINIMUM": "1",
        "CASEMATE_POOL_MAXIMUM": "3",
        "CASEMATE_GATEWAY_UPSTREAM_URL": model.url,
        "ANTHROPIC_API_KEY": KEY,
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    with running_casemate(
        environment,
        arguments=(str(internet.map_file),),
        users={"ada": PASSWORD},
        program=(str(HERE / "serve_on_small_internet.py"),),
    ) as running:
        yield running


@pytest.fixture
async def ada(casemate: RunningCasemate) -> AsyncIterator[ApiClient]:
    """Her sandbox has egress."""
    async with ApiClient.signed_in(casemate.url, "ada", PASSWORD) as client:
        yield client


async def heads(intruder: Intruder, *requests: str) -> list[str]:
    """The status codes that requests got, on both ways to the proxy."""
    found = await intruder.probe("egress_attempts", "heads", json.dumps(requests))
    assert found["socket"] == found["loopback"]
    return [line.split(" ")[1] if line.startswith("HTTP/") else line for line in found["socket"]]


def connect(target: str) -> str:
    return f"CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n"


async def told(intruder: Intruder) -> set[tuple[str, str]]:
    """What the session's people were told was blocked."""
    await intruder.idle()
    return {(event.host, event.tag) for event in intruder.chat.of(EgressRefused)}


# --- what it is for ------------------------------------------------------------------------------


async def test_tools_reach_what_is_allowed(intruder: Intruder, internet: SmallInternet) -> None:
    """curl, git and pip find the proxy and trust whom they must, with nothing configured."""
    assert "GET /x of plain.test" in await intruder.bash("curl -sS http://plain.test/x")
    cloned = await intruder.bash(
        "cd /workspace && git clone -q https://git.test/repo.git && cat repo/README"
    )
    assert "hello from the repository" in cloned
    pip = "python3 /workspace/pip.whl/pip --no-cache-dir --disable-pip-version-check"
    downloaded = await intruder.bash(
        "cd /workspace && curl -sSO https://pypi.test/files/pip.whl && "
        f"{pip} download -q --index-url https://pypi.test/simple -d wheels tiny && ls wheels"
    )
    assert "tiny-1.0-py3-none-any.whl" in downloaded
    written = await intruder.bash(
        'python3 -c "import urllib.request as r; '
        "print(r.urlopen('https://git.test/repo.git/HEAD').read())\""
    )
    assert "refs/heads/main" in written
    assert await told(intruder) == set()


async def test_the_model_is_not_reached_by_the_proxy(
    intruder: Intruder, casemate: RunningCasemate
) -> None:
    """The CLI's own traffic goes to its socket, whatever the environment says of proxies."""
    assert "127.0.0.1:3128" in await intruder.bash("env | grep -i https_proxy")
    await intruder.works()
    assert await told(intruder) == set()
    assert "gateway.internal" not in casemate.log


async def test_a_person_sees_what_was_blocked(intruder: Intruder) -> None:
    """And so does the program: in the words of curl, git and pip."""
    assert "403" in await intruder.bash("curl -sS https://other.test/ 2>&1")
    said = await intruder.bash(
        "python3 -c \"import urllib.request as r; r.urlopen('https://other.test/')\" 2>&1"
    )
    assert "blocked: other.test:443" in said
    event = intruder.chat.of(EgressRefused)[0]
    assert (event.host, event.port, event.tag) == ("other.test", 443, "host_not_allowed")


# --- attacks -------------------------------------------------------------------------------------


@attack(
    "A21",
    tried="reach a host or port that the profile does not list, by names that resemble listed ones",
    protects="what is in the sandbox, and what it could fetch",
)
async def test_what_is_not_listed_is_not_reached(
    intruder: Intruder, internet: SmallInternet
) -> None:
    """403, on the socket and on the loopback; the session's people are told."""
    names = ["other.test", "pypi.test.evil.test", "evilpypi.test", "sub.pypi.test", "test"]
    targets = [f"{name}:443" for name in names] + ["pypi.test:80", "pypi.test:22", "plain.test:443"]
    got = await heads(
        intruder, *map(connect, targets), "GET http://pypi.test/ HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    assert got == ["403"] * len(got)
    assert {host for host, _ in await told(intruder)} == {*names, "pypi.test", "plain.test"}
    assert not any(host == "other.test" for host, _, _ in internet.requests)


@attack(
    "A21",
    tried="use a proxy from a sandbox whose profile allows no hosts",
    protects="profiles without egress: there is nothing to attack",
)
async def test_without_a_list_there_is_no_proxy(ada: ApiClient) -> None:
    """No socket, no port, no variable."""
    session = (await ada.create(profile="closed"))["id"]
    async with ada.chat(session) as chat:
        closed = Intruder(ada, chat, session)
        found = await closed.bash(
            "ls /run/agent; env | grep -ic _proxy; "
            "curl -sS -x 127.0.0.1:3128 http://plain.test 2>&1"
        )
    await ada.end(session)
    assert "egress" not in found
    assert "\n0\n" in found
    assert "refused" in found or "connect" in found


@attack(
    "A22",
    tried="ask the egress proxy for addresses in any spelling, localhost, users, NUL",
    protects="the host's own services, and the operator's network",
)
async def test_only_names_can_be_asked_for(intruder: Intruder) -> None:
    """400 for each."""
    targets = [
        *("127.0.0.1:443", "127.1:443", "2130706433:443", "0x7f.1:443", "0177.0.0.1:443"),
        *("[::1]:443", "[::ffff:127.0.0.1]:443", "::1:443", "localhost:443", "a.localhost:443"),
        *("user@pypi.test:443", "pypi.test.:443", "pypi.test\x00:443", "pypi.test\xa0:443"),
        *("pypi.test:0", "pypi.test:99999", "pypi.test", "pypi.test:443@127.0.0.1:80"),
    ]
    plain = ["127.1", "[::1]", "localhost", "u@plain.test", "plain.test\\@127.1", "0x7f000001"]
    requests = [f"GET http://{place}/ HTTP/1.1\r\nHost: plain.test\r\n\r\n" for place in plain]
    got = await heads(intruder, *map(connect, targets), *requests)
    assert {t: s for t, s in zip([*targets, *plain], got, strict=True) if s != "400"} == {}


@attack(
    "A23",
    tried="use an allowed name that leads to a private, local, link-local or mapped address",
    protects="the cloud's metadata, the host's own services, and the operator's network",
)
async def test_names_that_lead_inside_are_blocked(intruder: Intruder) -> None:
    """403: each name is looked up once, and every address it has is judged before any is called."""
    names = ["inside.test", "metadata.test", "here.test", "mapped.test"]
    plain = "GET http://metadata.test/latest/meta-data/ HTTP/1.1\r\nHost: metadata.test\r\n\r\n"
    got = await heads(intruder, *(connect(f"{name}:443") for name in names), plain)
    assert got == ["403"] * len(got)
    assert await told(intruder) == {(name, "private_address") for name in names}


@attack(
    "A24",
    tried="open a tunnel to an allowed host, and ask for another one or speak no TLS in it",
    protects="the list of hosts: one that is allowed is no door to others beside it",
)
async def test_a_tunnel_is_for_its_host(intruder: Intruder, internet: SmallInternet) -> None:
    """Dropped for another name and for none, with and without a secret for the host."""
    before = len(internet.requests)
    asked = [
        *(("pypi.test:443", "other.test"), ("pypi.test:443", None), ("pypi.test:443", "git.test")),
        *(("git.test:443", "pypi.test"), ("git.test:443", None)),
        *(("pypi.test:443", "pypi.test"), ("git.test:443", "git.test")),
    ]
    found = await intruder.probe("egress_attempts", "names", json.dumps(asked))
    assert "ok" not in found["names"][:5]
    assert found["names"][5:] == ["ok", "ok"]
    raw = await intruder.bash(
        "printf 'CONNECT pypi.test:443 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\nGET / HTTP/1.1\\r\\n\\r\\n'"
        " | timeout 5 curl -sS telnet://127.0.0.1:3128 --noproxy '*'"
    )
    assert raw.count("HTTP/1.1") == 1
    assert {tag for _, tag in await told(intruder)} == {"sni_mismatch", "no_tls"}
    assert len(internet.requests) == before


@attack(
    "A01",
    tried="find the secret that the proxy adds for a host: memory, files, environments, answers",
    protects="tokens of the operator's, such as one for git",
)
async def test_the_added_secret_is_not_in_the_sandbox(
    intruder: Intruder, internet: SmallInternet, casemate: RunningCasemate
) -> None:
    """The clone that needs it works, and it is nowhere that the sandbox's user may read."""
    cloned = await intruder.bash(
        "cd /workspace && GIT_TRACE_CURL=1 git -c http.extraHeader='Authorization: mine' "
        "clone https://git.test/repo.git 2>trace && cat repo/README"
    )
    assert "hello from the repository" in cloned
    sent = base64.b64encode(f"{USER}:{TOKEN}".encode()).decode()
    for form in (TOKEN, sent):
        found = await intruder.probe("search_for_secret", form[:20], form[20:])
        assert found["secret"] == []
        assert "/tmp/decoy" in found["decoy"]
    assert TOKEN not in str([event for _, event in intruder.chat.events])
    assert TOKEN not in casemate.log
    assert TOKEN not in docker("inspect", await intruder.sandbox())


@attack(
    "A21",
    tried="send more than the profile allows to a host that is allowed",
    protects="what is in the sandbox: an allowed host is no drain",
)
async def test_what_leaves_is_bounded(intruder: Intruder) -> None:
    """The connection is cut at the session's budget, and later ones are refused."""
    send = "head -c 3000000 /dev/zero | curl -sS -o /dev/null -T - {} 2>&1"
    await intruder.bash(send.format("http://plain.test/"))
    await intruder.bash("curl -sS https://pypi.test/ 2>&1")
    assert await told(intruder) == {("plain.test", "over_budget"), ("pypi.test", "over_budget")}
