"""What only a directory can do wrong: leftovers, other processes, full and read-only disks."""

import fcntl
import gc
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dozo.blobs import (
    BlobMissing,
    BlobsFull,
    BlobsReadOnly,
    BlobsUnavailable,
    BlobTruncated,
    DirectoryBlobs,
)
from dozo.blobs.directory import TEMPORARY

CREATE = """
import sys
from dozo.blobs import DirectoryBlobs
blobs = DirectoryBlobs(sys.argv[1])
sys.stdout.write("ready\\n"); sys.stdout.flush()
sys.stdin.readline()
won = [n for n in range(40) if blobs.create(f"race/{n}", [sys.argv[2].encode() * 1000])]
sys.stdout.write(" ".join(map(str, won)) + "\\n")
"""

SWEEP = """
import sys
from dozo.blobs import DirectoryBlobs
blobs = DirectoryBlobs(sys.argv[1])
while True:
    blobs.sweep()
"""


def temporaries(root: Path) -> list[Path]:
    return list((root / TEMPORARY).iterdir())


def test_of_several_processes_one_creates(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE, str(tmp_path / "place"), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "abc"
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    won = [
        {int(number) for number in writer.communicate("go\n", timeout=60)[0].split()}
        for writer in writers
    ]
    assert sum(len(each) for each in won) == len(set().union(*won)) == 40
    blobs = DirectoryBlobs(tmp_path / "place")
    for name, each in zip("abc", won, strict=True):
        for number in each:
            assert blobs.get(f"race/{number}") == name.encode() * 1000
    assert not temporaries(tmp_path / "place")


def test_nothing_is_made_by_reading(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path / "place")
    assert list(blobs.list("")) == []
    assert blobs.sweep() == 0
    blobs.delete("a/b")
    with pytest.raises(BlobMissing):
        blobs.get("a/b")
    assert not (tmp_path / "place").exists()


def test_blobs_are_for_their_owner_alone(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path / "place")
    blobs.put("keys/a", [b"x"])
    assert (tmp_path / "place" / "keys" / "a").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "place" / "keys").stat().st_mode & 0o777 == 0o700


def test_leftovers_of_the_dead_are_swept_and_work_in_progress_is_not(tmp_path: Path) -> None:
    root = tmp_path / "place"
    blobs = DirectoryBlobs(root)
    blobs.put("a/b", [b"kept"])
    (root / TEMPORARY / "abandoned").write_bytes(b"half of something")
    alive = os.open(root / TEMPORARY / "alive", os.O_WRONLY | os.O_CREAT)
    try:
        fcntl.flock(alive, fcntl.LOCK_EX)
        assert DirectoryBlobs(root).sweep() == 1
        assert [path.name for path in temporaries(root)] == ["alive"]
        # Whoever lives keeps its leftovers for days; nobody looks at a clock.
        os.utime(root / TEMPORARY / "alive", (0, 0))
        assert DirectoryBlobs(root).sweep() == 0
    finally:
        os.close(alive)
    assert DirectoryBlobs(root).sweep() == 1
    assert blobs.get("a/b") == b"kept"


def test_writing_goes_on_while_others_sweep(tmp_path: Path) -> None:
    sweeper = subprocess.Popen([sys.executable, "-c", SWEEP, str(tmp_path)])
    try:
        blobs = DirectoryBlobs(tmp_path)
        for number in range(300):
            blobs.put(f"a/{number}", [b"content"])
            assert blobs.create(f"b/{number}", [b"content"])
        assert len(list(blobs.list(""))) == 600
        assert not temporaries(tmp_path)
    finally:
        sweeper.kill()
        sweeper.wait()


def test_a_full_disk_leaves_nothing_behind_and_room_mends_it(
    small_disk: Callable[[int], Path],
) -> None:
    root = small_disk(1 << 20) / "place"
    blobs = DirectoryBlobs(root)
    blobs.put("a/small", [b"kept"])
    blobs.put("a/large", [bytes(600_000)])
    for store in (blobs.put, blobs.create):
        with pytest.raises(BlobsFull) as raised:
            store("a/more", [b"x" * 300_000, b"y" * 300_000])
        assert raised.value.url == str(root)
        assert not temporaries(root)
        with pytest.raises(BlobMissing):
            blobs.get("a/more")
    with pytest.raises(BlobsFull):
        blobs.put("a/small", [b"x" * 600_000])
    assert blobs.get("a/small") == b"kept"
    blobs.delete("a/large")
    blobs.put("a/more", [b"x" * 600_000])
    assert blobs.size("a/more") == 600_000


def test_a_limit_on_files_is_a_full_disk_too(tmp_path: Path) -> None:
    script = (
        "import resource, signal, sys\n"
        "from dozo.blobs import BlobsFull, DirectoryBlobs\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "blobs = DirectoryBlobs(sys.argv[1])\n"
        "blobs.put('a/b', [b'kept'])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try: blobs.put('a/b', [bytes(30_000), bytes(30_000)])\n"
        "except BlobsFull: print(blobs.get('a/b'), list((blobs._root / '.tmp').iterdir()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "b'kept' []\n"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_a_read_only_disk_says_so_and_can_be_read(small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(1 << 20)
    blobs = DirectoryBlobs(disk / "place")
    blobs.put("a/b", [b"kept"])
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    fresh = DirectoryBlobs(disk / "place")
    for change in (
        lambda: fresh.put("a/c", [b"x"]),
        lambda: fresh.create("a/c", [b"x"]),
        lambda: fresh.put("new/c", [b"x"]),
        lambda: fresh.delete("a/b"),
    ):
        with pytest.raises(BlobsReadOnly):
            change()
    assert fresh.create("a/b", [b"x"]) is False
    assert fresh.get("a/b") == b"kept"
    assert fresh.sweep() == 0
    assert [info.key for info in fresh.list("")] == ["a/b"]


def test_truncation_is_found_by_ranges(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    blobs.put("a/b", [b"0123456789"])
    assert blobs.get_range("a/b", 5, 5) == b"56789"
    os.truncate(tmp_path / "a" / "b", 7)
    with pytest.raises(BlobTruncated):
        blobs.get_range("a/b", 5, 5)


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"I am an image")
    blobs = DirectoryBlobs(tmp_path / "file")
    with pytest.raises(BlobMissing):
        blobs.get("header")
    assert list(blobs.list("")) == []
    with pytest.raises(BlobsUnavailable):
        blobs.put("header", [b"x"])
    assert (tmp_path / "file").read_bytes() == b"I am an image"


def test_many_files_are_read_with_few_open(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    for number in range(200):
        blobs.put(f"a/{number}", [str(number).encode()])
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _turn in range(2):
        for number in range(200):
            text = str(number).encode()
            assert blobs.get_range(f"a/{number}", 0, len(text)) == text
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= 64
    del blobs
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
