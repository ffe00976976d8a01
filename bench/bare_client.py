"""One bare `ClaudeSDKClient`, timed: the baseline that Casemate is compared with.

Run as a process of its own, on the host or in a container: it prints one JSON line with seconds
from its start (`--started-at`) to connected and to the first token. With `--wait` it connects, says
so, and sends its prompt only when a line arrives on standard input.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--started-at", type=float, default=None, help="time.time() of the caller")
    parser.add_argument("--wait", action="store_true", help="send the prompt when told to")
    parser.add_argument("--model", default="claude-sonnet-4-5")
    parser.add_argument("--prompt", default="hello")
    return parser.parse_args()


async def run(options: argparse.Namespace) -> None:
    from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, StreamEvent

    imported = time.time()
    with tempfile.TemporaryDirectory() as work:
        client = ClaudeSDKClient(
            ClaudeAgentOptions(
                cwd=work,
                model=options.model,
                setting_sources=[],
                include_partial_messages=True,
                permission_mode="default",
                system_prompt={"type": "preset", "preset": "claude_code"},
            )
        )
        await client.connect()
        connected = time.time()
        sent = connected
        if options.wait:
            print(json.dumps({"connected": True}), flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            sent = time.time()
        await client.query(options.prompt)
        first = None
        async for message in client.receive_response():
            delta = isinstance(message, StreamEvent) and message.event.get("type")
            if first is None and delta == "content_block_delta":
                first = time.time()
        await client.disconnect()
    start = options.started_at if options.started_at is not None else imported
    print(
        json.dumps(
            {
                "import": imported - start,
                "connected": connected - start,
                "first_token_after_start": (first or time.time()) - start,
                "first_token_after_prompt": (first or time.time()) - sent,
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    asyncio.run(run(arguments()))
