"""Sends requests to the gateway's socket exactly as they are written, side by side if told to.

Arguments: how many at once, and a JSON list of requests (method, target, headers, body, times).
Prints the status of each and the beginning of its answer; 0 where there was none.
"""

import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

AT_ONCE, REQUESTS = int(sys.argv[1]), json.loads(sys.argv[2])
MESSAGE = {
    "model": "claude-haiku-4-5",
    "max_tokens": 50,
    "messages": [{"role": "user", "content": "!say 3 words"}],
}


def body_of(request):
    body = request.get("body", {})
    if isinstance(body, dict):
        body = json.dumps({**MESSAGE, **body})
    return body.encode() * request.get("repeat", 1)


def written(request):
    body = body_of(request) if request.get("method", "POST") != "GET" else b""
    headers = {"Host": "gateway.internal", "Connection": "close", **request.get("headers", {})}
    if body and "Transfer-Encoding" not in headers:
        headers.setdefault("Content-Length", len(body))
    lines = [f"{request.get('method', 'POST')} {request.get('target', '/v1/messages')} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def call(request):
    answer = b""
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(60)
        try:
            door.connect("/run/agent/gw.sock")
            door.sendall(written(request))
        except OSError:
            pass  # it may have answered and hung up before all was sent
        try:
            while piece := door.recv(1 << 16):
                answer += piece
        except OSError:
            pass
    status = int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else 0
    return [status, answer.partition(b"\r\n\r\n")[2][:300].decode(errors="replace")]


calls = [request for request in REQUESTS for _ in range(request.get("times", 1))]
with ThreadPoolExecutor(AT_ONCE) as pool:
    answers = list(pool.map(call, calls))
print(json.dumps({"statuses": [status for status, _ in answers], "answers": answers[:40]}))
