"""Checkpoints as the shim makes and restores them: real files, and archives that lie."""

import hashlib
import io
import os
import resource
import stat
import subprocess
import tarfile
import threading

import pytest
from backports import zstd
from shim import unpacking
from shim.checkpoints import Checkpoints
from shim.contents import Roots
from shim.exchange import Exchange
from shim.files import Unfit

from orchestrator.protocol.transfers import CHUNK_BYTES, ReceiveCheckpoint, SendCheckpoint

CAPS = {"most_entries": 10_000, "most_bytes": 1 << 28}


class Sandbox:
    def __init__(self, directory):
        self.workspace, self.home = directory / "workspace", directory / "home"
        self.workspace.mkdir(parents=True)
        self.home.mkdir()
        self.roots = Roots(workspace=str(self.workspace), home=str(self.home))
        self.checkpoints = Checkpoints(self.roots)

    def prepare(self, **order):
        return self.checkpoints.prepare(SendCheckpoint(**(CAPS | order)))

    def pack(self, **order):
        self.prepared = self.prepare(**order)
        packed = b"".join(self.prepared.packing.chunks())
        self.checkpoints.sent(self.prepared)
        return packed

    @property
    def fingerprint(self):
        return self.prepared.fingerprint.portable

    def restore(self, packed, **caps):
        pieces = iter([packed[at : at + 999] for at in range(0, len(packed), 999)])
        order = ReceiveCheckpoint(size=len(packed), **(CAPS | caps))
        self.checkpoints.restore(order, lambda: next(pieces, b""))


@pytest.fixture
def sandboxes(tmp_path):
    """As many as a test wants, each with a workspace and a home of its own."""
    return lambda count: [Sandbox(tmp_path / f"sandbox-{number}") for number in range(count)]


def settled(sandbox):
    """Age what is there: a file that is being written just now never counts as unchanged."""
    threading.Event().wait(0.03)


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def looks(root):
    """Everything below a directory that a restored one must have in common with it."""
    found = {}
    for directory, names, files in os.walk(os.fsencode(root)):
        for name in names + files:
            path = directory + b"/" + name
            seen = os.lstat(path)
            if stat.S_ISLNK(seen.st_mode):
                content = os.readlink(path)  # noqa: PTH115 - bytes
            elif stat.S_ISREG(seen.st_mode):
                with open(path, "rb") as file:  # noqa: PTH123 - bytes
                    content = hashlib.file_digest(file, "sha256").hexdigest()
            else:
                content = None
            relative = os.path.relpath(path, os.fsencode(root))
            found[relative] = (seen.st_mode, seen.st_mtime_ns, content)
    return found


def git(root, *arguments):
    command = ["git", "-c", "user.name=n", "-c", "user.email=n@example.org", *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


def archive(*entries, end=True):
    """An archive of (name, what is changed of its entry, content)."""
    body = b""
    for name, changes, content in entries:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        for field, value in changes.items():
            setattr(info, field, value)
        body += info.tobuf(tarfile.PAX_FORMAT) + content + bytes(-len(content) % 512)
    return zstd.compress(body + (bytes(1024) if end else b""))


# --- there and back -------------------------------------------------------------------------------


def odd_tree(root):
    (root / "sub/deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "sub/secret").write_bytes(os.urandom(300_001))
    (root / "sub/secret").chmod(0o600)
    (root / "nothing").touch()
    (root / "new\nline \u202e name").write_text("odd")
    (root / ("n" * 255)).write_text("long")
    with open(os.fsencode(root) + b"/not-utf8-\xff\xfe", "wb") as file:  # noqa: PTH123 - bytes
        file.write(b"bytes")
    (root / "link").symlink_to("run.sh")
    (root / "away").symlink_to("/etc/passwd")
    (root / "dangling").symlink_to("../../nowhere \n at all")
    os.link(root / "run.sh", root / "sub/deep/again.sh")
    (root / "locked").mkdir()
    (root / "locked/file").write_text("x")
    os.utime(root / "sub/secret", ns=(1_234_567_890_123_456_789, 1_234_567_890_123_456_789))
    os.utime(root / "nothing", ns=(-5_000_000_001, -5_000_000_001))
    os.utime(root / "link", ns=(77_000_000_123, 77_000_000_123), follow_symlinks=False)
    (root / "locked").chmod(0o555)


def test_a_tree_comes_back_as_it_was(sandboxes):
    """Contents, modes, times to the nanosecond, links of both kinds, and the oddest names."""
    one, other = sandboxes(2)
    odd_tree(one.workspace)
    other.restore(one.pack())
    assert looks(other.workspace) == looks(one.workspace)
    assert (other.workspace / "run.sh").samefile(other.workspace / "sub/deep/again.sh")
    assert one.prepared.packing.entries == len(looks(one.workspace))
    assert one.prepared.packing.omitted == 0


def test_git_sees_no_change(sandboxes):
    """A repository is clean after a restore, and one with changes has the same ones."""
    one, other = sandboxes(2)
    git(one.workspace, "init", "-q")
    (one.workspace / "a.txt").write_text("a\n")
    (one.workspace / "tool").write_text("#!/bin/sh\n")
    (one.workspace / "tool").chmod(0o755)
    (one.workspace / "to").symlink_to("a.txt")
    git(one.workspace, "add", ".")
    git(one.workspace, "commit", "-qm", "first")
    other.restore(one.pack())
    assert git(other.workspace, "status", "--porcelain") == ""
    git(other.workspace, "fsck", "--strict")
    (one.workspace / "a.txt").write_text("b\n")
    other.restore(one.pack())
    assert git(other.workspace, "status", "--porcelain") == " M a.txt\n"


def test_what_was_there_goes(sandboxes):
    """A restore replaces: files of before, in locked directories, too, are gone; nothing of the
    shim's own is left behind."""
    one, other = sandboxes(2)
    (one.workspace / "kept").write_text("new")
    odd_tree(other.workspace)
    (other.workspace / "kept").mkdir()
    other.restore(one.pack())
    assert names(other.workspace) == ["kept"]
    assert (other.workspace / "kept").read_text() == "new"
    assert names(other.home) == []


def test_an_empty_workspace(sandboxes):
    """It is a checkpoint like any other."""
    one, other = sandboxes(2)
    (other.workspace / "x").touch()
    other.restore(one.pack())
    assert names(other.workspace) == []


def test_the_same_files_give_the_same_bytes(sandboxes):
    """A checkpoint of restored files is the same blob, byte by byte."""
    one, other = sandboxes(2)
    odd_tree(one.workspace)
    packed = one.pack()
    other.restore(packed)
    assert other.pack() == packed
    assert other.fingerprint == one.fingerprint


def test_of_the_home_only_what_is_the_sessions(sandboxes):
    """The agent's lists, plans and long results travel; credentials, caches and its transcripts
    do not, and what else is in the other home stays."""
    one, other = sandboxes(2)
    state = one.home / ".claude"
    for path in ("tasks/s/1.json", "plans/p.md", "file-history/s/a@v1", "todos/t.json"):
        (state / path).parent.mkdir(parents=True, exist_ok=True)
        (state / path).write_text(path)
    results = state / "projects/-workspace/s/tool-results"
    results.mkdir(parents=True)
    (results / "r.txt").write_text("long")
    (state / "projects/-workspace/s.jsonl").write_text("transcript")
    (state / ".credentials.json").write_text("secret")
    (one.home / ".netrc").write_text("secret")
    (other.home / ".claude/tasks").mkdir(parents=True)
    (other.home / ".claude/tasks/old").touch()
    (other.home / ".claude/settings.json").write_text("{}")
    packed = one.pack()
    assert b"secret" not in zstd.decompress(packed)
    assert b"transcript" not in zstd.decompress(packed)
    other.restore(packed)
    found = {
        os.fsdecode(path) for path, (mode, _, _) in looks(other.home).items() if mode & 0o100000
    }
    assert found == {
        ".claude/settings.json",
        ".claude/tasks/s/1.json",
        ".claude/plans/p.md",
        ".claude/file-history/s/a@v1",
        ".claude/todos/t.json",
        ".claude/projects/-workspace/s/tool-results/r.txt",
    }


def test_the_home_is_bounded(sandboxes, monkeypatch):
    """What is beyond its bound is left out and counted; the workspace is kept all the same."""
    (one,) = sandboxes(1)
    tasks = one.home / ".claude/tasks"
    tasks.mkdir(parents=True)
    for number in range(5):
        (tasks / str(number)).write_text("12345678")
    monkeypatch.setattr("shim.contents.HOME_MOST_BYTES", 20)
    one.pack()
    assert one.prepared.packing.omitted == 3


# --- what is left out -----------------------------------------------------------------------------


def test_excludes_are_read_as_git_reads_them(sandboxes):
    """Patterns for directories, for files anywhere, from the top, and exceptions; an excluded
    directory is not even looked into."""
    one, other = sandboxes(2)
    for path in (
        *("node_modules/a.js", "pkg/node_modules/b.js", "build/out", "src/build", "x.log"),
        *("keep.log", "src/node_modules.txt"),
    ):
        (one.workspace / path).parent.mkdir(parents=True, exist_ok=True)
        (one.workspace / path).write_text("x")
    (one.workspace / "node_modules").chmod(0)
    patterns = ["node_modules/", "/build/", "*.log", "!keep.log"]
    other.restore(one.pack(excludes=patterns))
    (one.workspace / "node_modules").chmod(0o700)
    assert one.prepared.packing.omitted == 0
    found = {os.fsdecode(path) for path, look in looks(other.workspace).items() if look[2]}
    assert found == {"src/build", "keep.log", "src/node_modules.txt"}


def test_a_pattern_that_is_none(sandboxes):
    """It refuses the checkpoint, instead of keeping what was to be left out."""
    (one,) = sandboxes(1)
    with pytest.raises(Unfit):
        one.prepare(excludes=["!"])


def test_what_is_no_file_is_counted(sandboxes):
    """Sockets and pipes are omitted and counted, and block nothing."""
    (one,) = sandboxes(1)
    os.mkfifo(one.workspace / "pipe")
    os.mknod(one.workspace / "socket", stat.S_IFSOCK | 0o600)
    (one.workspace / "file").touch()
    one.pack()
    assert (one.prepared.packing.entries, one.prepared.packing.omitted) == (1, 2)


def test_links_are_never_followed(sandboxes):
    """A link to a directory outside is a link in the archive, and nothing of what it names."""
    one, _ = sandboxes(2)
    (one.workspace / "home").symlink_to(one.home)
    (one.home / "outside").write_text("OUTSIDE")
    packed = one.pack()
    assert b"OUTSIDE" not in zstd.decompress(packed)
    assert one.prepared.packing.entries == 1


def test_a_file_that_becomes_a_link_is_not_followed(sandboxes):
    """Between being looked at and being read, it is left out."""
    one, _ = sandboxes(2)
    (one.home / "outside").write_text("OUTSIDE")
    (one.workspace / "file").write_text("inside!")
    (one.workspace / "sub").mkdir()
    (one.workspace / "sub/file").write_text("inside!")
    prepared = one.prepare()
    (one.workspace / "file").unlink()
    (one.workspace / "file").symlink_to(one.home / "outside")
    (one.workspace / "sub").rename(one.home / "sub")
    (one.home / "sub/file").write_text("OUTSIDE")
    (one.workspace / "sub").symlink_to(one.home / "sub")
    assert b"OUTSIDE" not in zstd.decompress(b"".join(prepared.packing.chunks()))


def test_files_that_change_while_they_are_read(sandboxes):
    """One that grew is carried as far as it was, one that shrank is filled up and counted, one that
    vanished is not there; the archive is whole, and the next one is not taken for unchanged."""
    one, other = sandboxes(2)
    for name in ("grows", "shrinks", "vanishes"):
        (one.workspace / name).write_bytes(b"x" * 1000)
    prepared = one.prepare()
    (one.workspace / "grows").write_bytes(b"y" * 5000)
    (one.workspace / "shrinks").write_bytes(b"y" * 10)
    (one.workspace / "vanishes").unlink()
    other.restore(b"".join(prepared.packing.chunks()))
    assert prepared.packing.omitted == 1
    assert (other.workspace / "grows").read_bytes() == b"y" * 1000
    assert (other.workspace / "shrinks").read_bytes() == b"y" * 10 + bytes(990)
    assert not (other.workspace / "vanishes").exists()
    one.checkpoints.sent(prepared)
    settled(one)
    assert one.prepare(unless=prepared.fingerprint.portable) is not None


def test_deep_trees_end_somewhere(sandboxes):
    """What is deeper than descriptors reach is counted, however deep it is."""
    (one,) = sandboxes(1)
    here = os.open(one.workspace, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    one.pack()
    assert (one.prepared.packing.entries, one.prepared.packing.omitted) == (100, 1)
    one.restore(one.pack())
    assert len(names(one.workspace)) == 1


@pytest.mark.parametrize("caps", [{"most_entries": 3}, {"most_bytes": 3999}])
def test_a_workspace_that_is_too_large(sandboxes, caps):
    """It is refused before anything is packed."""
    (one,) = sandboxes(1)
    for number in range(4):
        (one.workspace / str(number)).write_bytes(bytes(1000))
    with pytest.raises(Unfit) as unfit:
        one.prepare(**caps)
    assert unfit.value.why == "too_much"


def test_names_of_one_file_count_once(sandboxes):
    """Its bytes are carried once, too."""
    (one,) = sandboxes(1)
    (one.workspace / "0").write_bytes(os.urandom(3000))
    for number in range(1, 20):
        os.link(one.workspace / "0", one.workspace / str(number))
    packed = one.pack(most_bytes=3000)
    assert one.prepared.packing.size == 3000
    assert len(packed) < 6000


def test_a_sparse_file_takes_no_more_room_than_before(sandboxes):
    """Its holes are holes again."""
    one, other = sandboxes(2)
    with (one.workspace / "sparse").open("wb") as file:
        file.seek(64 << 20)
        file.write(b"end")
        file.truncate(128 << 20)
    packed = one.pack()
    other.restore(packed)
    restored = (other.workspace / "sparse").stat()
    assert restored.st_size == 128 << 20
    assert restored.st_blocks * 512 <= 1 << 20
    assert len(packed) < 64 << 10


def test_a_file_of_small_holes_takes_no_more_room_than_before(sandboxes):
    """Also where a page here and there is written: what fitted into a workspace fits again."""
    one, other = sandboxes(2)
    with (one.workspace / "database").open("wb") as file:
        for start in range(0, 64 << 20, 64 << 10):
            file.seek(start)
            file.write(b"page")
    before = (one.workspace / "database").stat().st_blocks
    other.restore(one.pack())
    restored = other.workspace / "database"
    assert restored.stat().st_blocks <= before
    assert restored.read_bytes() == (one.workspace / "database").read_bytes()


def test_pieces_have_the_protocols_size(sandboxes):
    """Each but the last."""
    (one,) = sandboxes(1)
    (one.workspace / "random").write_bytes(os.urandom(1 << 20))
    sizes = [len(chunk) for chunk in one.prepare().packing.chunks()]
    assert set(sizes[:-1]) == {CHUNK_BYTES}
    assert 0 < sizes[-1] <= CHUNK_BYTES


# --- whether anything changed ---------------------------------------------------------------------


def test_nothing_is_packed_where_nothing_changed(sandboxes):
    """The same fingerprint, and not a touch on any file since."""
    (one,) = sandboxes(1)
    (one.workspace / "a").write_text("a")
    settled(one)
    one.pack()
    assert one.prepare(unless=one.fingerprint) is None
    assert one.prepare(unless="another") is not None
    assert one.prepare(unless="") is not None


@pytest.mark.parametrize("change", ["content", "mode", "name", "new", "gone", "link"])
def test_every_change_shows(sandboxes, change):
    """Also one that keeps size and time of a file."""
    (one,) = sandboxes(1)
    file = one.workspace / "a"
    file.write_text("a")
    (one.workspace / "l").symlink_to("a")
    settled(one)
    one.pack()
    before = file.stat()
    match change:
        case "content":
            file.write_text("b")
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        case "mode":
            file.chmod(0o755)
        case "name":
            file.rename(one.workspace / "b")
        case "new":
            (one.workspace / "sub").mkdir()
        case "gone":
            file.unlink()
        case "link":
            (one.workspace / "l").unlink()
            (one.workspace / "l").symlink_to("b")
    settled(one)
    assert one.prepare(unless=one.fingerprint) is not None


def test_a_file_written_this_very_moment_is_never_unchanged(sandboxes):
    """It might be written again without a trace."""
    (one,) = sandboxes(1)
    (one.workspace / "a").write_text("a")
    one.pack()
    assert one.prepare(unless=one.fingerprint) is not None


def test_restored_files_are_unchanged(sandboxes):
    """In a new sandbox the checkpoint that was restored is still the latest one."""
    one, other = sandboxes(2)
    odd_tree(one.workspace)
    other.restore(one.pack(excludes=["*.log"]))
    assert other.prepare(excludes=["*.log"], unless=one.fingerprint) is None
    (other.workspace / "new").touch()
    assert other.prepare(excludes=["*.log"], unless=one.fingerprint) is not None


# --- archives that are none -----------------------------------------------------------------------

LINK = {"type": tarfile.SYMTYPE, "linkname": "/etc", "size": 0}
HARD = {"type": tarfile.LNKTYPE, "size": 0}


@pytest.mark.parametrize(
    "entries",
    [
        [("/etc/x", {}, b"x")],
        [("workspace/../x", {}, b"x")],
        [("workspace/./x", {}, b"x")],
        [("workspace//x", {}, b"x")],
        [("x", {}, b"x")],
        [("workspace", {}, b"x")],
        [("home/.ssh/authorized_keys", {}, b"x")],
        [("home/.claude/settings.json", {}, b"x")],
        [("home/.claude/projects/p/s.jsonl", {}, b"x")],
        [("home/.claude/tasks/../../.bashrc", {}, b"x")],
        [("workspace/" + "d/" * 101 + "x", {}, b"x")],
        [("workspace/device", {"type": tarfile.CHRTYPE, "devmajor": 1}, b"")],
        [("workspace/pipe", {"type": tarfile.FIFOTYPE}, b"")],
        [("workspace/l", LINK, b""), ("workspace/l/x", {}, b"x")],
        [("workspace/l", LINK, b""), ("workspace/l", {}, b"x")],
        [("workspace/f", {}, b"x"), ("workspace/f", {}, b"y")],
        [("workspace/f", {}, b"x"), ("workspace/f/g", {}, b"y")],
        [("workspace/l", LINK, b""), ("workspace/h", HARD | {"linkname": "workspace/l"}, b"")],
        [("workspace/h", HARD | {"linkname": "/etc/passwd"}, b"")],
        [("workspace/h", HARD | {"linkname": "workspace/none"}, b"")],
        [("workspace/x", {"pax_headers": {"mtime": "9" * 40}}, b"x")],
        [("workspace/x", {"pax_headers": {"mtime": "nan"}}, b"x")],
        [("workspace/x", {"pax_headers": {"size": "-5"}}, b"x")],
        [("workspace/x", {"pax_headers": {"size": "99999999999"}}, b"x")],
        [("workspace/x", {"pax_headers": {"path": "/etc/x"}}, b"x")],
        [("workspace/x", {"pax_headers": {"comment": "c" * (1 << 20)}}, b"x")],
        [
            (
                "workspace/x",
                {"pax_headers": {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}},
                b"1",
            )
        ],
    ],
)
def test_entries_that_lead_elsewhere_are_refused(sandboxes, tmp_path, entries):
    """Whatever an archive says, nothing but what a checkpoint holds is made, and what was there
    stays as it was."""
    one, *_ = sandboxes(1)
    (one.workspace / "before").write_text("before")
    before = looks(tmp_path)
    with pytest.raises(Unfit):
        one.restore(archive(*entries))
    assert looks(tmp_path).keys() == before.keys()
    assert looks(one.workspace) == {
        path.removeprefix(b"sandbox-0/workspace/"): look
        for path, look in before.items()
        if path.startswith(b"sandbox-0/workspace/")
    }


GOOD = archive(("workspace/a", {}, b"a" * 5000), ("workspace/b", {}, b"b"))


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"not zstandard at all",
        GOOD[:-1],
        GOOD[: len(GOOD) // 2],
        GOOD + b"more",
        GOOD + GOOD,
        zstd.compress(b""),
        zstd.compress(b"x" * 600),
        archive(("workspace/a", {}, b"a"), end=False),
        zstd.compress(zstd.decompress(GOOD)[:512] + os.urandom(5120) + b"x" * 1024),
        zstd.compress(zstd.decompress(GOOD) + b"after the end"),
        zstd.compress(bytes(100), options={zstd.CompressionParameter.window_log: 27})[:-3],
    ],
)
def test_what_is_no_whole_archive_is_refused(sandboxes, packed):
    """Cut, spoilt or followed by something: what was there stays."""
    (one,) = sandboxes(1)
    (one.workspace / "before").write_text("before")
    with pytest.raises(Unfit):
        one.restore(packed)
    assert names(one.workspace) == ["before"]


def test_a_spoilt_byte_is_noticed(sandboxes):
    """An archive has a checksum."""
    one, other = sandboxes(2)
    (one.workspace / "random").write_bytes(os.urandom(5000))
    packed = bytearray(one.pack())
    packed[2500] ^= 1
    with pytest.raises(Unfit):
        other.restore(bytes(packed))
    assert names(other.workspace) == []


@pytest.mark.parametrize(
    "packed",
    [
        archive(("workspace/zeros", {}, bytes(64 << 20))),
        archive(*((f"workspace/{number}", {}, b"") for number in range(101))),
        zstd.compress(bytes(1 << 26) + b"x"),
        archive(("workspace/x", {}, b"x")) + zstd.compress(bytes(1 << 27)),
    ],
)
def test_a_bomb_does_not_go_off(sandboxes, packed):
    """However well it is compressed, no more than allowed is unpacked, and nothing stays."""
    (one,) = sandboxes(1)
    with pytest.raises(Unfit):
        one.restore(packed, most_entries=100, most_bytes=1 << 20)
    assert names(one.workspace) == []


# --- what goes wrong meanwhile --------------------------------------------------------------------


def test_no_room(sandboxes):
    """Where a file does not fit, what was there stays, and the reason is told."""
    one, other = sandboxes(2)
    (one.workspace / "large").write_bytes(os.urandom(2 << 20))
    (other.workspace / "before").write_text("before")
    packed = one.pack()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))  # as a full file system does
    try:
        with pytest.raises(Unfit) as unfit:
            other.restore(packed)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert unfit.value.why == "no_room"
    assert names(other.workspace) == ["before"]


def test_a_connection_that_breaks(sandboxes):
    """In the middle of a restore: what was there stays, and nothing else."""
    (one,) = sandboxes(1)
    odd_tree(one.workspace)
    before = looks(one.workspace)

    def more():
        raise ConnectionError

    with pytest.raises((ConnectionError, Unfit)):
        one.checkpoints.restore(ReceiveCheckpoint(size=1, **CAPS), more)
    assert looks(one.workspace) == before


@pytest.mark.parametrize("moves", range(1, 6))
def test_an_exchange_that_fails_half_way_is_undone(sandboxes, monkeypatch, moves):
    """At whichever step: what was there is there, with its modes."""
    one, other = sandboxes(2)
    for name in "ab":
        (one.workspace / name).write_text("new")
        (other.workspace / name).mkdir(mode=0o500)
    (one.workspace / "c").write_text("new")
    before = {path: look[0] for path, look in looks(other.workspace).items()}
    original, done = Exchange._move, []

    def failing(self, source, target):
        done.append(source)
        if len(done) == moves:
            raise OSError(5, "no more")
        original(self, source, target)

    monkeypatch.setattr(Exchange, "_move", failing)
    with pytest.raises(Unfit):
        other.restore(one.pack())
    assert {path: look[0] for path, look in looks(other.workspace).items()} == before


def test_an_archive_is_read_in_pieces(sandboxes, monkeypatch):
    """Reading stops when what is unpacked is refused: a sender is not heard to its end."""
    (one,) = sandboxes(1)
    taken = []
    body = io.BytesIO(
        archive(("workspace/../x", {}, b"x"), ("workspace/y", {}, os.urandom(1 << 20)))
    )

    def more():
        taken.append(body.read(4096))
        return taken[-1]

    with pytest.raises(Unfit):
        unpacking.restore(more, one.roots, **CAPS)
    assert len(taken) < 80
