"""Checkpoints between real containers: what one sandbox had, another one has."""

import pytest

from orchestrator.protocol.ids import ProfileName, SessionId
from orchestrator.sessions.errors import CheckpointTooLarge
from orchestrator.sessions.files.errors import NoRoom
from orchestrator.sessions.profiles import CheckpointRules

RULES = CheckpointRules(excludes=("node_modules/",))
MAKE = r"""
set -e
cd /workspace
git init -q; git config user.name n; git config user.email n@example.org
echo node_modules >.gitignore
mkdir -p src/deep node_modules/x empty; echo made again >node_modules/x/y
printf '#!/bin/sh\necho hi\n' >tool; chmod 755 tool
head -c 3000000 /dev/urandom >src/random; echo secret >src/private; chmod 600 src/private
ln -s tool link; ln -s /etc/passwd away; ln -s nowhere dangling; ln src/random src/deep/again
printf x >"$(printf 'odd\nname \377')"
truncate -s 200M sparse
touch -d '2001-02-03 04:05:06.123456789' src/private
git add .gitignore tool src link away dangling; git commit -qm first; echo change >>tool
mkdir locked; touch locked/in; chmod 555 locked
mkfifo pipe
mkdir -p ~/.claude/tasks/list; echo '{}' >~/.claude/tasks/list/1.json; echo secret >~/.netrc
"""
LOOK = r"""
cd /workspace
find . -path ./node_modules -prune -o -name pipe -o -path ./.git/index \
  -o ! -type d -printf '%P %m %y %s %l %T@\n' | LC_ALL=C sort
find . -path ./node_modules -prune -o -type d -printf '%P %m\n' | LC_ALL=C sort
find . -path ./node_modules -prune -o -type f ! -name index -print0 | LC_ALL=C sort -z \
  | xargs -0 sha256sum
git status --porcelain; git fsck --strict; git log --format=%H%n%ad
"""


async def claim(pool, session):
    return await pool.claim(
        ProfileName("default"), session=SessionId(session), on_place=lambda _: None
    )


async def run(world, sandbox, script):
    """With the sandbox's own user."""
    container = await world.container_of(sandbox)
    execution = await container.exec(
        ["/bin/bash", "-c", script], environment={"HOME": "/home/agent"}
    )
    output = b""
    async with execution.start() as stream:
        while (message := await stream.read_out()) is not None:
            output += message.data
    return (await execution.inspect())["ExitCode"], output


async def taken(sandbox, *, unless=""):
    async with sandbox.workspace.take_checkpoint(RULES, unless=unless) as arriving:
        if arriving is None:
            return None
        return b"".join([chunk async for chunk in arriving.chunks]), arriving.packed


async def restored(sandbox, archive, *, rules=RULES):
    async def chunks():
        yield archive

    await sandbox.workspace.restore_checkpoint(chunks(), size=len(archive), rules=rules)


async def test_a_workspace_moves_into_another_sandbox(world, pool):
    """Contents, modes, times, links, odd names and a repository are the same; what was excluded,
    pipes and other programs' secrets stay behind; and nothing of it counts as a change."""
    one = await claim(pool, "s")
    assert await run(world, one, MAKE) == (0, b"")
    before = await run(world, one, LOOK)
    archive, packed = await taken(one)
    assert packed.omitted == 1
    assert await taken(one, unless=packed.fingerprint) is None
    await one.destroy()
    other = await claim(pool, "s")
    await run(world, other, "mkdir -p /workspace/old/dir; chmod 0 /workspace/old")
    await restored(other, archive)
    assert await taken(other, unless=packed.fingerprint) is None
    after = await run(world, other, LOOK)
    assert set(after[1].split(b"\n")) ^ set(before[1].split(b"\n")) == set()
    assert after == before
    assert b" M tool" in after[1]
    _, listed = await run(
        world, other, "ls -A /workspace ~; du -sk /workspace/sparse; ls ~/.claude"
    )
    assert b"node_modules" not in listed
    assert b"old" not in listed
    assert b".netrc" not in listed
    assert b"0\t/workspace/sparse" in listed
    assert b"tasks" in listed


async def test_no_room(world, pool):
    """A workspace that cannot hold both is as it was, and the restore is refused as that; a bomb
    is refused for what it is."""
    sandbox = await claim(pool, "s")
    await run(world, sandbox, "head -c 300M /dev/urandom >/workspace/large")
    archive, _ = await taken(sandbox)
    with pytest.raises(NoRoom):
        await restored(sandbox, archive)
    with pytest.raises(CheckpointTooLarge):
        await restored(sandbox, archive, rules=CheckpointRules(max_bytes=1 << 20))
    _, listed = await run(world, sandbox, "ls -A /workspace; stat -c %s /workspace/large")
    assert listed.split() == [b"large", b"314572800"]
    await run(world, sandbox, "rm /workspace/large")
    await restored(sandbox, archive)
