"""Sessions over REST: creating, listing, prompting, answering, ending, and what is refused."""

import time

import pytest

SESSIONS = "/api/v1/sessions"
MIB = 1 << 20


class Program:
    def __init__(self, door, name):
        self.door = door
        self.headers = door.bearer(name)

    def __call__(self, method, path="", **options):
        headers = self.headers | options.pop("headers", {})
        return self.door.anonymous.request(method, f"{SESSIONS}{path}", headers=headers, **options)

    def new(self, **body):
        answer = self("POST", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def events(self, session):
        return [e["event"] for e in self("GET", f"/{session}/events").json()["events"]]

    def until(self, session, condition):
        """Ask again until the events fulfil the condition."""
        deadline = time.monotonic() + 5
        while not (found := condition(self.events(session))):
            assert time.monotonic() < deadline
        return found


@pytest.fixture
def ada(door):
    return Program(door, "ada")


def of(events, kind):
    return [event for event in events if event["type"] == kind]


def test_a_prompt_is_answered(ada):
    """A session takes a prompt, runs a turn, and its log tells the whole story."""
    session = ada.new(title="A test")
    sent = ada("POST", f"/{session}/prompts", json={"text": "hello", "client_id": "c1"})
    assert (sent.status_code, sent.json()) == (202, {"client_id": "c1"})
    events = ada.until(session, lambda events: events if of(events, "turn_ended") else None)
    assert of(events, "prompt_accepted")[0]["by"] == "ada"
    assert of(events, "text_written")
    view = ada("GET", f"/{session}").json()
    assert (view["title"], view["state"]) == ("A test", "idle")


def test_a_prompt_that_is_sent_twice_runs_once(ada):
    """The same client id, or the same Idempotency-Key, is the same prompt."""
    session = ada.new()
    for _ in range(3):
        body = {"text": "hello", "client_id": "same"}
        assert ada("POST", f"/{session}/prompts", json=body).status_code == 202
        key = {"Idempotency-Key": "k1"}
        sent = ada("POST", f"/{session}/prompts", json={"text": "again"}, headers=key)
        assert sent.json()["client_id"] == "k1"
    events = ada.until(session, lambda e: e if len(of(e, "turn_ended")) == 2 else None)
    assert len(of(events, "prompt_accepted")) == 2


def test_a_session_that_is_asked_for_twice_is_made_once(ada, door):
    """The same Idempotency-Key gives the same session, and only to the same user."""
    key = {"Idempotency-Key": "abc"}
    first = ada("POST", json={}, headers=key).json()["id"]
    assert ada("POST", json={}, headers=key).json()["id"] == first
    assert Program(door, "bob")("POST", json={}, headers=key).json()["id"] != first


@pytest.mark.parametrize("key", ["x" * 201, "tab\there", "umläut".encode()])
def test_an_impossible_key_is_refused(ada, key):
    """An Idempotency-Key is short and printable ASCII."""
    answer = ada("POST", json={}, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["tag"]) == (400, "bad_header")


def test_full_pools_answer_202_or_429(make_door):
    """With `respond-async` a session waits in the open; without, 429 says when to try again."""
    door = make_door(size=1)
    door.add("ada")
    door.world.pool._patience = 0.05
    ada = Program(door, "ada")
    first = ada("POST", json={}, headers={"Prefer": "respond-async"})
    assert first.status_code == 201
    full = ada("POST", json={})
    assert full.status_code == 429
    assert int(full.headers["retry-after"]) >= 1
    assert full.json()["tag"] == "no_sandbox_free"
    door.world.pool._patience = 30.0
    waiting = ada("POST", json={}, headers={"Prefer": "return=minimal, respond-async"})
    assert (waiting.status_code, waiting.json()["state"]) == (202, "waiting")
    assert waiting.json()["place"] == 1
    assert waiting.headers["location"] == f"{SESSIONS}/{waiting.json()['id']}"
    assert ada("DELETE", f"/{first.json()['id']}").status_code == 204
    deadline = time.monotonic() + 5
    while ada("GET", f"/{waiting.json()['id']}").json()["state"] != "idle":
        assert time.monotonic() < deadline


def test_lists_page_through_all_of_ones_own(ada, door):
    """`next_cursor` leads through every session once, newest first, and to nobody else's."""
    bob = Program(door, "bob")
    bob.new()
    made = []
    for _ in range(5):
        made.append(ada.new())
        ada("DELETE", f"/{made[-1]}")
    seen, cursor = [], ""
    while cursor is not None:
        page = ada("GET", f"?limit=2{cursor and f'&cursor={cursor}'}").json()
        seen += [session["id"] for session in page["sessions"]]
        cursor = page.get("next_cursor")
    assert seen == made[::-1]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "cursor=%00", "cursor=nope"])
def test_bad_pages_are_refused(ada, query):
    """A limit out of range or a cursor that we did not make is the client's mistake."""
    answer = ada("GET", f"?{query}")
    assert 400 <= answer.status_code < 500
    assert answer.json()["tag"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 422),
        (b'{"profile": 1}', 422),
        (b'{"title": ""}', 422),
        (b'{"owner": "bob"}', 422),
        (b'{"id": "x", "state": "idle"}', 422),
        (b'{"profile": "unknown"}', 404),
        (b'{"title": "' + b"x" * 70_000 + b'"}', 413),
        (b"\xff\xfe", 400),
        (b"[" * 5000, 400),
    ],
    ids=lambda v: str(v)[:24],
)
def test_bad_bodies_are_refused_plainly(ada, body, status):
    """Malformed, mistyped, smuggled, oversized: each a problem, and nothing is made."""
    answer = ada("POST", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert ada("GET").json()["sessions"] == []


def test_validation_names_the_field(ada):
    """The detail of a 422 says which field is wrong and why."""
    answer = ada("POST", json={"title": 7})
    assert "title" in answer.json()["detail"]


def test_a_prompt_of_two_mebibytes_is_too_large(ada):
    """2 MiB are refused with 413, with and without Content-Length; just below 1 MiB runs."""
    session = ada.new()
    huge = b'{"text": "' + b"x" * (2 * MIB) + b'"}'
    headers = {"Content-Type": "application/json"}
    answer = ada("POST", f"/{session}/prompts", content=huge, headers=headers)
    assert (answer.status_code, answer.json()["tag"]) == (413, "too_large")
    pieces = (huge[i : i + 65536] for i in range(0, len(huge), 65536))
    answer = ada("POST", f"/{session}/prompts", content=pieces, headers=headers)
    assert answer.status_code == 413
    barely = {"text": "x" * (MIB + 1)}
    answer = ada("POST", f"/{session}/prompts", json=barely)
    assert (answer.status_code, answer.json()["tag"]) == (413, "prompt_too_large")
    fine = ada("POST", f"/{session}/prompts", json={"text": "y" * (MIB - 10)})
    assert fine.status_code == 202


def test_permissions_are_decided(ada):
    """A request is allowed by its id and its input's hash, by nothing less; once gone, an answer is
    too late and says so."""
    session = ada.new()
    ada("POST", f"/{session}/prompts", json={"text": "!bash ls"})
    asked = ada.until(session, lambda events: of(events, "permission_requested"))[0]
    path = f"/{session}/permissions/{asked['permission_id']}"
    allow = {"choice": "allow", "input_hash": asked["input_hash"]}
    assert ada("POST", path, json=allow | {"choice": "maybe"}).status_code == 422
    assert ada("POST", path, json={"choice": "allow"}).status_code == 422
    other = ada("POST", path, json=allow | {"input_hash": "0" * 64})
    assert (other.status_code, other.json()["tag"]) == (409, "input_changed")
    assert ada("POST", path, json=allow).status_code == 204
    late = ada("POST", path, json=allow)
    assert (late.status_code, late.json()["tag"]) == (409, "answer_too_late")


def test_questions_are_answered(ada):
    """An answer that fits is taken, an unknown question is too late."""
    session = ada.new()
    ada("POST", f"/{session}/prompts", json={"text": "!ask"})
    asked = ada.until(session, lambda events: of(events, "question_asked"))[0]
    questions = asked["questions"]
    answers = {q["question"]: q["options"][0]["label"] for q in questions}
    path = f"/{session}/questions"
    assert ada("POST", f"{path}/unknown", json={"answers": answers}).status_code == 409
    done = ada("POST", f"{path}/{asked['question_id']}", json={"answers": answers})
    assert done.status_code == 204


def test_turns_are_stopped(ada):
    """Stop interrupts what runs, and says so where nothing does."""
    session = ada.new()
    assert ada("POST", f"/{session}/stop", json={}).json()["tag"] == "nothing_to_stop"
    ada("POST", f"/{session}/prompts", json={"text": "!slow 30"})
    ada.until(session, lambda events: of(events, "turn_started"))
    assert ada("POST", f"/{session}/stop").status_code == 202
    ended = ada.until(session, lambda events: of(events, "turn_ended"))[0]
    assert ended["outcome"] == "interrupted"


def test_waiting_prompts_are_taken_back(ada):
    """A queued prompt can be removed once; then it is unknown."""
    session = ada.new()
    ada("POST", f"/{session}/prompts", json={"text": "!slow 30"})
    ada.until(session, lambda events: of(events, "turn_started"))
    ada("POST", f"/{session}/prompts", json={"text": "later", "client_id": "c2"})
    assert ada("DELETE", f"/{session}/prompts/c2").status_code == 204
    assert ada("DELETE", f"/{session}/prompts/c2").json()["tag"] == "unknown_prompt"


def test_model_mode_and_title_are_changed(ada):
    """The three things that a running session may change live."""
    session = ada.new()
    assert ada("PUT", f"/{session}/model", json={"model": "claude-other"}).status_code == 202
    assert ada("PUT", f"/{session}/permission-mode", json={"mode": "plan"}).status_code == 202
    bypass = ada("PUT", f"/{session}/permission-mode", json={"mode": "bypassPermissions"})
    assert bypass.status_code == 422
    renamed = ada("PATCH", f"/{session}", json={"title": "Another"})
    assert renamed.json()["title"] == "Another"
    ada.until(session, lambda events: of(events, "model_changed"))


def test_ending_destroys_the_sandbox_and_keeps_the_log(ada, door):
    """After the end the sandbox is gone, events stay readable, prompts are refused."""
    session = ada.new()
    ended = ada("POST", f"/{session}/end", json={})
    assert ended.json()["state"] in {"ending", "ended"}
    deadline = time.monotonic() + 5
    while door.world.pool.live:
        assert time.monotonic() < deadline
    assert of(ada.until(session, lambda e: e if of(e, "session_ended") else None), "session_ended")
    refused = ada("POST", f"/{session}/prompts", json={"text": "hello"})
    assert (refused.status_code, refused.json()["tag"]) == (409, "session_over")


def test_old_events_come_in_pages(ada):
    """`before` and `limit` walk back through the log without a gap."""
    session = ada.new()
    for n in range(4):
        ada("POST", f"/{session}/prompts", json={"text": f"prompt {n}"})
    ada.until(session, lambda e: e if len(of(e, "turn_ended")) == 4 else None)
    whole = ada("GET", f"/{session}/events?limit=500").json()["events"]
    seqs, before = [], ""
    while True:
        page = ada("GET", f"/{session}/events?limit=3{before}").json()
        seqs = [e["seq"] for e in page["events"]] + seqs
        if not page["earlier"]:
            break
        before = f"&before={seqs[0]}"
    assert seqs == [e["seq"] for e in whole]


def test_a_database_that_fails_is_told_as_such(ada, door):
    """Where the store refuses, the answer is 503 with a sentence, and no fault of the client's."""
    door.world.database.broken = True
    answer = ada("GET")
    assert (answer.status_code, answer.json()["tag"]) == (503, "storage_failed")


def test_a_fault_of_ours_tells_nothing_but_an_id(ada, door, monkeypatch):
    """An unexpected error is 500 with the request's id, and shows neither type nor text of it."""

    async def broken(*_, **__):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(door.world.sessions, "view", broken)
    answer = ada("GET", "/x")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] in answer.json()["detail"]
