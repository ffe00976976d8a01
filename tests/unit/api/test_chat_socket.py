"""The chat's WebSocket: who gets one, what frames do, and how it ends."""

import time
from contextlib import contextmanager

import msgspec
import pytest
from litestar.exceptions import WebSocketDisconnect

from orchestrator.api.settings import ApiSettings
from orchestrator.sessions.errors import StorageFailed

JSON = msgspec.json.encode


def path_of(session):
    return f"/api/v1/sessions/{session}/stream"


@pytest.fixture
def page(door):
    return door.browser("ada")


@pytest.fixture
def session(page):
    return page.client.post("/api/v1/sessions", json={}).json()["id"]


def frames_until(socket, kind):
    """Read until a frame of this type; that frame."""
    for _ in range(200):
        frame = socket.receive_json(timeout=5)
        if frame["type"] == kind:
            return frame
    raise AssertionError(kind)


def event_until(socket, kind):
    for _ in range(200):
        frame = socket.receive_json(timeout=5)
        for event in frame.get("events", []):
            if event["event"]["type"] == kind:
                return event["event"]
    raise AssertionError(kind)


@contextmanager
def resumed(page, session, **resume):
    with page.client.websocket_connect(path_of(session)) as socket:
        socket.send_json({"type": "resume", **resume})
        yield socket


def close_code(socket):
    try:
        while True:
            socket.receive(timeout=5)
    except WebSocketDisconnect as closed:
        return closed.code


def test_a_page_follows_and_prompts(page, session):
    """Resume gives a snapshot; a prompt streams its answer; a ping is answered."""
    with resumed(page, session) as socket:
        snapshot = frames_until(socket, "snapshot")
        assert snapshot["session"]["id"] == session
        socket.send_json({"type": "prompt", "client_id": "c1", "text": "hello"})
        assert event_until(socket, "turn_ended")["outcome"] == "completed"
        socket.send_json({"type": "ping"})
        assert frames_until(socket, "pong")["seq"] > 0


def test_it_resumes_where_it_left_off(page, session):
    """With the last seq and epoch the next connection gets what came after, and no snapshot."""
    with resumed(page, session) as socket:
        first = frames_until(socket, "snapshot")
        socket.send_json({"type": "prompt", "client_id": "c1", "text": "hello"})
        event_until(socket, "turn_ended")
    with resumed(page, session, seq=first["seq"], epoch=first["epoch"]) as socket:
        frame = socket.receive_json(timeout=5)
        assert frame["type"] == "events"
        assert frame["events"][0]["seq"] == first["seq"] + 1


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "https://evil.example",
        "http://127.0.0.1:8080.evil.example",
        "https://127.0.0.1:8080",
        "http://127.0.0.1:8081",
        "http://127.0.0.1",
        "HTTP://127.0.0.1:8080/",
    ],
    ids=str,
)
def test_only_our_own_page_gets_a_socket_by_cookie(page, session, origin):
    """Any other Origin, `null` or none at all is refused before the socket is accepted."""
    headers = {"Cookie": f"casemate_at={page.cookie('at')}", "Host": "127.0.0.1:8080"}
    if origin is not None:
        headers["Origin"] = origin
    stranger = page.door.anonymous
    with (
        pytest.raises(WebSocketDisconnect) as refused,
        stranger.websocket_connect(path_of(session), headers=headers),
    ):
        pytest.fail("it was accepted")
    assert refused.value.code != 4401  # a refusal, not an accepted socket that was closed


def test_a_program_needs_no_origin(page, session, door):
    """A bearer token in the header opens a socket without Origin; a page cannot send one."""
    headers = {"Authorization": f"Bearer {page.cookie('at')}"}
    with door.anonymous.websocket_connect(path_of(session), headers=headers) as socket:
        socket.send_json({"type": "resume"})
        assert frames_until(socket, "snapshot")


@pytest.mark.parametrize("token", ["", "nonsense", "refresh"])
def test_without_a_good_token_it_closes_with_4401(page, session, door, token):
    """Our own page with no, a bad or the wrong kind of token is let in only to be told 4401."""
    value = page.cookie("rt") if token == "refresh" else token
    headers = {"Origin": door.url, "Cookie": f"casemate_at={value}"}
    with door.anonymous.websocket_connect(path_of(session), headers=headers) as socket:
        assert close_code(socket) == 4401


def test_somebody_elses_session_is_unknown(door, session):
    """Following a session that is not one's own ends with unknown_session and 4404."""
    with resumed(door.browser("bob"), session) as socket:
        refused = frames_until(socket, "command_refused")
        assert refused["problem"]["tag"] == "unknown_session"
        assert close_code(socket) == 4404


BAD_FRAMES = [
    ("", "malformed_frame"),
    ("{", "malformed_frame"),
    ("[]", "malformed_frame"),
    ("null", "malformed_frame"),
    ('{"type": 1}', "malformed_frame"),
    ('{"type": "prompt"}', "malformed_frame"),
    ('{"type": "prompt", "client_id": "x", "text": 1}', "malformed_frame"),
    ('{"type": "prompt", "client_id": "", "text": "x"}', "malformed_frame"),
    ('{"type": "decide_permission", "permission_id": "x"}', "malformed_frame"),
    ('{"type": "choose_permission_mode", "mode": "bypassPermissions"}', "malformed_frame"),
    ("[" * 100_000, "malformed_frame"),
    ('{"type": "launch_missiles"}', "unknown_command"),
    ('{"type": "unrecognised", "tag": "x", "raw": {}}', "unknown_command"),
    ('{"type": "resume"}', "already_resumed"),
    ('{"type": "stop"}', "nothing_to_stop"),
    ('{"type": "remove_prompt", "client_id": "x"}', "unknown_prompt"),
    (
        '{"type": "decide_permission", "permission_id": "x",'  # noqa: ISC004 - one frame
        ' "decision": {"choice": "allow", "input_hash": "0"}}',
        "answer_too_late",
    ),
    (
        '{"type": "decide_permission", "permission_id": "x", "decision": {"choice": "allow"}}',
        "malformed_frame",
    ),
]


@pytest.mark.parametrize(("frame", "tag"), BAD_FRAMES, ids=[f[:40] for f, _ in BAD_FRAMES])
def test_a_bad_frame_is_answered_and_the_connection_lives(page, session, frame, tag):
    """Whatever is wrong with a frame: one refusal with a plain sentence, then a ping works."""
    with resumed(page, session) as socket:
        socket.send_text(frame)
        refused = frames_until(socket, "command_refused")
        assert refused["problem"]["tag"] == tag
        assert refused["problem"]["title"].endswith(".")
        socket.send_json({"type": "ping"})
        assert frames_until(socket, "pong")


def test_binary_frames_are_refused(page, session):
    """A binary frame is answered like any bad one."""
    with resumed(page, session) as socket:
        socket.send_bytes(b'{"type": "ping"}')
        assert frames_until(socket, "command_refused")["problem"]["tag"] == "binary_frame"
        socket.send_json({"type": "ping"})
        assert frames_until(socket, "pong")


def test_a_prompt_of_two_mebibytes_is_too_large(page, session):
    """2 MiB are refused and the connection lives; above 4 MiB it ends with 1009."""
    prompt = {"type": "prompt", "client_id": "big", "text": "x" * (2 << 20)}
    with resumed(page, session) as socket:
        socket.send_text(JSON(prompt).decode())
        refused = frames_until(socket, "command_refused")
        assert (refused["problem"]["tag"], refused["problem"]["status"]) == ("too_large", 413)
        socket.send_json({"type": "ping"})
        assert frames_until(socket, "pong")
        socket.send_text("y" * ((4 << 20) + 1))
        assert close_code(socket) == 1009


def test_a_refused_prompt_names_itself(page, session):
    """A page finds the optimistic message that a refusal belongs to."""
    page.client.post(f"/api/v1/sessions/{session}/end", json={})
    with resumed(page, session) as socket:
        socket.send_json({"type": "prompt", "client_id": "mine", "text": "x"})
        refused = frames_until(socket, "command_refused")
        assert (refused["client_id"], refused["command"]) == ("mine", "prompt")


def test_the_first_frame_is_resume(page, session):
    """Anything else before it is refused; the connection waits on."""
    with page.client.websocket_connect(path_of(session)) as socket:
        socket.send_json({"type": "stop"})
        refused = frames_until(socket, "command_refused")
        assert refused["problem"]["tag"] == "resume_first"
        socket.send_json({"type": "resume"})
        assert frames_until(socket, "snapshot")


def test_a_silent_connection_is_closed(make_door):
    """Who never says where it left off is let go with 4408."""
    door = make_door(api=ApiSettings(resume_seconds=0.05))
    door.add("ada")
    page = door.browser("ada")
    session = page.client.post("/api/v1/sessions", json={}).json()["id"]
    with page.client.websocket_connect(path_of(session)) as socket:
        assert close_code(socket) == 4408


@pytest.mark.parametrize("how", ["disabled", "role", "logout", "expiry", "password"])
def test_an_open_socket_ends_soon_after_its_user_is_out(door, page, session, how):
    """Disabling, another role, signing out, a new password or expiry: 4401 within moments."""
    ada = door.run(door.accounts.find_user("ada")).id
    with resumed(page, session) as socket:
        frames_until(socket, "snapshot")
        began = time.monotonic()
        match how:
            case "disabled":
                door.run(door.accounts.disable_user(ada))
            case "role":
                door.run(door.accounts.change_user(ada, role="operator"))
            case "logout":
                page.client.post("/api/v1/auth/logout", json={})
            case "expiry":
                door.offset += 601
            case "password":
                door.run(door.accounts.set_password(ada, "a new long password"))
        assert close_code(socket) == 4401
        assert time.monotonic() - began < 5


def test_what_another_process_changed_is_seen_too(door, page, session):
    """The command line disables a user in the database: the socket ends within seconds."""
    with resumed(page, session) as socket:
        frames_until(socket, "snapshot")
        ada = door.run(door.accounts.find_user("ada"))
        disabled = msgspec.structs.replace(ada, disabled=True, version=ada.version + 1)
        door.run(door.users.replace(disabled, expected_version=ada.version))
        assert close_code(socket) == 4401


def test_sockets_per_user_are_bounded(make_door):
    """One socket too many is told 4429; closing one makes room; others are not affected."""
    door = make_door(api=ApiSettings(sockets_per_user=1))
    door.add("ada")
    door.add("bob")
    page = door.browser("ada")
    session = page.client.post("/api/v1/sessions", json={}).json()["id"]
    with resumed(page, session) as socket:
        frames_until(socket, "snapshot")
        with page.client.websocket_connect(path_of(session)) as second:
            assert close_code(second) == 4429
        bob = door.browser("bob")
        other = bob.client.post("/api/v1/sessions", json={}).json()["id"]
        with resumed(bob, other) as socket_of_bob:
            frames_until(socket_of_bob, "snapshot")
    with resumed(page, session) as socket:
        frames_until(socket, "snapshot")


def test_shutting_down_closes_with_1012(door, page, session):
    """Who follows when Casemate shuts down is told to come back."""
    with resumed(page, session) as socket:
        frames_until(socket, "snapshot")
        door.run(door.world.sessions.close())
        assert close_code(socket) == 1012


def test_a_flood_of_commands_is_read_more_slowly(make_door):
    """Faster than its allowance a socket is slowed down, not closed."""
    door = make_door(api=ApiSettings(commands_at_once=5, commands_per_second=50))
    door.add("ada")
    page = door.browser("ada")
    session = page.client.post("/api/v1/sessions", json={}).json()["id"]
    with resumed(page, session) as socket:
        began = time.monotonic()
        for _ in range(25):
            socket.send_json({"type": "ping"})
        for _ in range(25):
            frames_until(socket, "pong")
        assert time.monotonic() - began > 0.3


def test_a_fault_in_a_command_leaves_the_connection_alone(door, page, session, monkeypatch):
    """An unexpected error is told with an id and without its text; the socket lives."""

    async def broken(*_):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(door.world.sessions, "command", broken)
    with resumed(page, session) as socket:
        socket.send_json({"type": "stop"})
        refused = frames_until(socket, "command_refused")
        assert refused["problem"]["tag"] == "internal_error"
        assert "secret" not in str(refused)
        socket.send_json({"type": "ping"})
        assert frames_until(socket, "pong")


def test_a_database_that_fails_closes_with_1011(door, page, session):
    """Where nobody can be identified the socket is told to come back, without a crash."""

    async def broken(_):
        raise StorageFailed

    door.accounts._standings.forget(door.run(door.accounts.find_user("ada")).id)
    door.users.get = broken
    with page.client.websocket_connect(path_of(session)) as socket:
        assert close_code(socket) == 1011


def test_a_database_that_fails_later_ends_the_stream(door, page, session):
    """Who can no longer be checked is not trusted on."""

    async def broken(_):
        raise StorageFailed

    with resumed(page, session) as socket:
        frames_until(socket, "snapshot")
        door.users.get = broken
        assert close_code(socket) == 1011
