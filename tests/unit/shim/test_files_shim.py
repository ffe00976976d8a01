"""The workspace's files as the shim reaches them, with somebody else's hands in them."""

import os
import threading
import time

import pytest
from shim import files
from shim.files import Unfit

from orchestrator.protocol.transfers import Entry, Omitted


@pytest.fixture
def root(tmp_path):
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (tmp_path / "outside").write_text("OUTSIDE")
    return workspace


def read(root, path):
    with files.opened(str(root), path) as (file, entry):
        return os.read(file, entry.size)


def write(root, path, content, *, overwrite=False, size=None):
    with files.new_file(str(root), path, size=size, overwrite=overwrite) as file:
        file.write(content)
        file.finish()


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("../outside", "bad_name"),
        ("/etc/passwd", "bad_name"),
        ("a/../../outside", "bad_name"),
        ("", "not_a_file"),
        ("link", "not_a_file"),
        ("up/outside", "not_a_directory"),
        ("pipe", "not_a_file"),
        ("pipe/x", "not_a_directory"),
        ("directory", "not_a_file"),
        ("none", "not_found"),
        ("none/x", "not_found"),
    ],
)
def test_nothing_but_plain_files_below_the_workspace_is_read(root, path, why):
    """Ways out, links, pipes and directories are refused, and none of them blocks."""
    (root / "link").symlink_to(root.parent / "outside")
    (root / "up").symlink_to(root.parent)
    (root / "directory").mkdir()
    os.mkfifo(root / "pipe")
    with pytest.raises(Unfit) as unfit:
        read(root, path)
    assert unfit.value.why == why


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("../x", "bad_name"),
        ("link", "in_the_way"),
        ("up/x", "not_a_directory"),
        ("directory", "in_the_way"),
        ("dangling", "in_the_way"),
        ("file/x", "not_a_directory"),
    ],
)
@pytest.mark.parametrize("overwrite", [True, False])
def test_nothing_is_written_through_a_link(root, path, why, overwrite):
    """An upload follows no link, replaces nothing but a plain file, and leaves no part."""
    (root / "link").symlink_to(root.parent / "outside")
    (root / "dangling").symlink_to(root.parent / "new")
    (root / "up").symlink_to(root.parent)
    (root / "directory").mkdir()
    (root / "file").touch()
    before = sorted(os.listdir(root))  # noqa: PTH208 - names alone
    with pytest.raises(Unfit) as unfit:
        write(root, path, b"x", overwrite=overwrite)
    assert unfit.value.why == why
    assert sorted(os.listdir(root)) == before  # noqa: PTH208 - names alone
    assert (root.parent / "outside").read_text() == "OUTSIDE"
    assert not (root.parent / "new").exists()


def test_a_file_that_came_meanwhile_is_kept(root):
    """Without a wish to overwrite, a file that appears during the upload wins."""
    with files.new_file(str(root), "x", size=None, overwrite=False) as file:
        file.write(b"late")
        (root / "x").write_text("first")
        with pytest.raises(Unfit) as unfit:
            file.finish()
    assert unfit.value.why == "exists"
    assert (root / "x").read_text() == "first"
    assert [path.name for path in root.iterdir()] == ["x"]


def test_a_declared_size_that_does_not_fit(root):
    """What cannot fit is refused before its content comes."""
    with pytest.raises(Unfit) as unfit:
        write(root, "x", b"", size=1 << 60)
    assert unfit.value.why == "no_room"


def test_links_that_come_and_go(root):
    """However fast a path is exchanged for a link, what is read is the workspace's own."""
    (root / "good").mkdir()
    (root / "good/outside").write_text("INSIDE")
    (root / "evil").symlink_to(root.parent)
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            (root / "good").rename(root / "other")
            (root / "evil").rename(root / "good")
            (root / "good").rename(root / "evil")
            (root / "other").rename(root / "good")

    swapping = threading.Thread(target=swap)
    swapping.start()
    seen, reads = set(), 0
    try:
        until = time.monotonic() + 30
        while reads < 2000 or (b"INSIDE" not in seen and time.monotonic() < until):
            reads += 1
            try:
                seen.add(read(root, "good/outside"))
            except Unfit as unfit:
                seen.add(unfit.why)
    finally:
        stop.set()
        swapping.join()
    assert b"INSIDE" in seen
    assert seen <= {b"INSIDE", "not_found", "not_a_directory"}


def test_a_tree_is_in_the_protocols_order(root):
    """A tree's paths ascend part by part, directories before what is in them."""
    for path in ("a.b", "a/z", "a/b/c", "B", "a b/x", "ä"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    found = [one.path.split("/") for one in files.tree(str(root), "", most=100)]
    assert found == sorted(found)
    assert len(found) == 9


def test_a_tree_goes_no_deeper_than_paths_may(root):
    """What is nested deeper than a path can say is left out, and reported."""
    (root / "/".join(["d"] * 80)).mkdir(parents=True)
    found = files.tree(str(root), "", most=1000)
    assert isinstance(found[-1], Omitted)
    assert sum(isinstance(one, Entry) for one in found) == 64


def test_a_tree_of_too_many_is_refused(root):
    """A directory with more than may be sent is not read to its end."""
    for n in range(50):
        (root / str(n)).touch()
    with pytest.raises(Unfit) as unfit:
        files.tree(str(root), "", most=49)
    assert unfit.value.why == "too_much"
    assert len(files.tree(str(root), "", most=50)) == 50


def test_any_time_of_change_can_be_told(root):
    """Times before 1970 and after the year 9999 are told as the nearest that can be."""
    (root / "old").touch()
    os.utime(root / "old", (-(10**9), -(10**9)))
    (entry,) = files.listed(str(root), "", most=1)[0]
    assert entry.modified_ms == 0
