import asyncio, contextlib, json, sys
import pytest
from orchestrator.protocol import sandbox_events
from orchestrator.protocol.commands import *
from orchestrator.protocol.ids import SessionId, TurnId
from orchestrator.protocol.transcripts import *
from orchestrator.protocol.sandbox_events import ConversationReset, AgentReady, CommandFailed, AgentResumed, AgentDied
sys.path.insert(0, "/work/main/tests/integration/shim")
import importlib.util
spec = importlib.util.spec_from_file_location("tr", "/work/main/tests/integration/shim/test_resuming.py")
tr = importlib.util.module_from_spec(spec); spec.loader.exec_module(tr)
from pathlib import Path
turn, resumed, pending, allowed, agent_session = tr.turn, tr.resumed, tr.pending, tr.allowed, tr.agent_session

@pytest.fixture
def chain(start_sandbox):
    @contextlib.asynccontextmanager
    async def start(previous=None, **setup):
        plane = None
        if previous is not None:
            previous.container.kill("SIGKILL")
            plane = type(previous.plane)(previous.plane.store)
        async with start_sandbox(plane=plane, **setup) as running:
            await running.plane.connected()
            yield running
    return start

async def sync(running, n="1", after=0):
    await running.plane.send(SyncTranscript(sync_id=n))
    return await running.plane.first(TranscriptSynced, after=after)

def lines(running):
    out = {}
    return running.plane.store

async def dump(running, session):
    key = running.plane.all(TranscriptPiece)[-1].key
    key = TranscriptKey(project=key.project, agent_session=session)
    return b"".join([p async for p in running.plane.store.load(SessionId("s"), key, branch=0)])

async def test_chain(chain, sandbox):
    await sandbox.plane.send(turn("!bash touch one"))
    r = await sandbox.plane.first(sandbox_events.PermissionRequested)
    await sandbox.plane.send(allowed(r)); await sandbox.plane.end_of("t1")
    s = await agent_session(sandbox.plane)
    print("sync0", await sync(sandbox))
    prev = sandbox
    async with contextlib.AsyncExitStack() as st:
        for i in range(3):
            running = await st.enter_async_context(chain(prev))
            a = await resumed(running, s)
            await running.plane.send(turn(f"hello number {i}", "t2"))
            print((await running.plane.end_of("t2")).outcome, await agent_session(running.plane))
            print("sync", await sync(running), [type(e).__name__ for e in running.plane.all(TranscriptReplaced)])
            d = await dump(running, s)
            rows = [json.loads(l) for l in d.splitlines()]
            print(i, len(rows), len({r.get("uuid") for r in rows}), len(d))
            prev = running

async def test_clear(chain, sandbox):
    await sandbox.plane.send(turn("hello")); await sandbox.plane.end_of("t1")
    await sandbox.plane.send(turn("/clear", "t2")); print(await sandbox.plane.end_of("t2"))
    print(sandbox.plane.all(AgentReady), sandbox.plane.all(ConversationReset))
    ids = [e.agent_session_id for e in sandbox.plane.events if isinstance(e, (AgentReady, ConversationReset))]
    s = ids[-1]
    await sync(sandbox)
    print(sorted({p.key.agent_session for p in sandbox.plane.all(TranscriptPiece)}), s)
    async with chain(sandbox) as running:
        await running.plane.send(ResumeAgent(agent_session_id=s))
        await running.plane.until(lambda: running.plane.all(AgentResumed) or running.plane.all(CommandFailed))
        print(running.plane.all(AgentResumed), running.plane.all(CommandFailed))

GARBAGE = {
 "binary": b"\x00\xff garbage\n",
 "nojson": b"this is no json\n" * 5,
 "emptyobj": b"{}\n",
 "loop": b'{"parentUuid":"a","uuid":"a","type":"user","sessionId":"SS","isSidechain":false,"message":{"role":"user","content":"x"}}\n',
 "badmsg": b'{"parentUuid":null,"uuid":"b","type":"user","sessionId":"SS","isSidechain":false,"message":7}\n{"parentUuid":"b","uuid":"c","type":"assistant","message":null}\n',
 "badcontent": b'{"parentUuid":null,"uuid":"b","type":"assistant","sessionId":"SS","isSidechain":false,"timestamp":"2026-11-23T00:00:00.000Z","message":{"role":"assistant","id":"m","content":[{"type":"tool_use"},null,7]}}\n',
}
@pytest.mark.parametrize("kind", list(GARBAGE))
@pytest.mark.parametrize("mode", ["only", "after", "unfinished"])
async def test_garbage(chain, sandbox, kind, mode):
    await sandbox.plane.send(turn("hello")); await sandbox.plane.end_of("t1")
    s = await agent_session(sandbox.plane)
    key = [p.key for p in sandbox.plane.all(TranscriptPiece) if not p.key.subpath][-1]
    await sandbox.plane.store.append(SessionId("s"), key, GARBAGE[kind].replace(b"SS", s.encode()), branch=0, sandbox=sandbox.plane.id, n=9999, replaces=mode=="only")
    async with chain(sandbox) as running:
        t0 = asyncio.get_running_loop().time()
        await running.plane.send(ResumeAgent(agent_session_id=s))
        await running.plane.until(lambda: running.plane.all(AgentResumed) or running.plane.all(CommandFailed))
        print("RES", kind, mode, asyncio.get_running_loop().time()-t0, running.plane.all(AgentResumed), running.plane.all(CommandFailed), running.plane.all(AgentDied))
        if running.plane.all(AgentResumed):
            await running.plane.send(turn("and now", "t2"))
            print("TURN", kind, mode, await running.plane.end_of("t2"), await agent_session(running.plane)==s)

async def test_pending_thrice(chain, sandbox):
    await sandbox.plane.send(turn("!bash echo once >> /workspace/ran"))
    r = await sandbox.plane.first(sandbox_events.PermissionRequested)
    s = await agent_session(sandbox.plane)
    await sync(sandbox)
    prev = sandbox
    async with contextlib.AsyncExitStack() as st:
        for i in range(3):
            running = await st.enter_async_context(chain(prev))
            a = await resumed(running, s, pending=pending(r))
            print(i, a, await sync(running))
            d = await dump(running, s) if running.plane.all(TranscriptPiece) else b""
            print([json.loads(l).get("type") for l in d.splitlines()])
            prev = running
        await running.plane.send(allowed(r))
        print(await running.plane.end_of("t1"))
        print(await running.run("cat /workspace/ran"))
        d = await dump(running, s)
        print([json.loads(l).get("type") for l in d.splitlines()])
        running2 = await st.enter_async_context(chain(running))
        await resumed(running2, s)
        await running2.plane.send(turn("and now", "t2"))
        print(await running2.plane.end_of("t2"), running2.plane.all(sandbox_events.PermissionRequested))
