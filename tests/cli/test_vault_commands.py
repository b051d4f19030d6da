"""`dozo vault …` as other programs rely on it: JSON, exit codes, and an error for every mistake."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from dozo.cli.app import run
from dozo.model import clock
from dozo.vault.format import checksum

MIB = 1 << 20
NOISE = os.urandom(3 * MIB)


@dataclass
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def result(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.err)
        return found


@dataclass
class Dozo:
    """The command, with a keys file of its own."""

    folder: Path

    def __call__(self, *words: str | Path, env: dict[str, str] | None = None) -> Answer:
        settings = {
            "DOZO_KEYS": str(self.folder / "keys"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            **(env or {}),
        }
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, settings),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = run(["vault", *map(str, words)])
        answer = Answer(code, out.getvalue(), err.getvalue())
        assert "Traceback" not in answer.err + answer.out
        assert "unexpected" not in answer.err, answer.err
        return answer

    def good(self, *words: str | Path) -> Any:
        answer = self(*words, "--json")
        assert answer.code == 0, answer.err
        assert not answer.err
        return answer.result

    def bad(self, code: int, error: str, *words: str | Path) -> dict[str, Any]:
        """The command fails with that exit code and error; said twice, for both readers."""
        answer = self(*words, "--json")
        assert answer.code == code, (answer.out, answer.err)
        assert answer.error["error"] == error
        assert answer.error["message"]
        assert answer.error["hint"]
        return answer.error


@pytest.fixture
def dozo(tmp_path: Path) -> Dozo:
    return Dozo(tmp_path)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    path.write_bytes(NOISE + bytes(5 * MIB) + NOISE[:512])
    return path


@pytest.fixture
def vault(dozo: Dozo, tmp_path: Path) -> Path:
    dozo.good("init", tmp_path / "vault")
    return tmp_path / "vault"


def test_the_life_of_a_vault(dozo: Dozo, tmp_path: Path, image: Path) -> None:
    vault, other, out = (tmp_path / name for name in ("main", "dr", "out.raw"))
    made = dozo.good("init", vault)
    assert Path(made["keys_file"]).stat().st_mode & 0o777 == 0o600
    assert Path(made["public_key_file"]).read_text().strip() == made["public_key"]
    size = image.stat().st_size
    first = dozo.good("backup", vault, image, "--name", "disk")
    assert first.keys() >= {
        *("snapshot", "bytes_volume", "bytes_read", "bytes_new", "bytes_stored", "seconds")
    }
    assert first["bytes_volume"] == size
    assert 3 * MIB <= first["bytes_stored"] < 3.5 * MIB
    changed = tmp_path / "extents.json"
    changed.write_text(json.dumps([[4 * MIB, 1000], [0, 10]]))
    with image.open("r+b") as file:
        file.seek(4 * MIB)
        file.write(b"x" * 1000)
    second = dozo.good(
        *("backup", vault, image, "--name", "disk"),
        *("--parent", first["snapshot"], "--changed", changed),
    )
    assert second["bytes_new"] < MIB
    assert [each["snapshot"] for each in dozo.good("list", vault, "--name", "disk")] == [
        first["snapshot"],
        second["snapshot"],
    ]
    assert dozo.good("list", vault, "--name", "nothing") == []
    row = dozo.good("list", vault)[0]
    assert row.keys() >= {"snapshot", "name", "created_at", "bytes_volume"}
    assert (row["name"], row["bytes_volume"]) == ("disk", size)
    done = dozo.good("restore", vault, second["snapshot"][:10], out)
    assert done.keys() == {"bytes_written", "seconds"}
    assert out.read_bytes() == image.read_bytes()
    qcow = tmp_path / "out.qcow2"
    dozo.good("restore", vault, second["snapshot"], qcow, "--format", "qcow2")
    compare = ["qemu-img", "compare", "-f", "qcow2", "-F", "raw", str(qcow), str(image)]
    assert subprocess.run(compare, check=False, capture_output=True).returncode == 0
    peer = dozo.good("init", other, "--keys", tmp_path / "keys-dr")
    granted = dozo.good("grant", vault, "--site", peer["public_key_file"])
    assert granted["tenants"] == 1
    copied = dozo.good("copy", vault, other)
    assert copied["copied"] == [first["snapshot"], second["snapshot"]]
    assert dozo.good("copy", vault, other, second["snapshot"])["already_there"] == [
        second["snapshot"]
    ]
    assert dozo.good("delete", vault, first["snapshot"]) == [first["snapshot"]]
    assert dozo.good("undelete", vault, first["snapshot"]) == [first["snapshot"]]
    dozo.good("delete", vault, first["snapshot"])
    plan = dozo.good("prune", vault, "--grace", "0", "--dry-run")
    assert plan["dry_run"]
    assert dozo.good("prune", vault)["snapshots_purged"] == 0
    assert dozo.good("prune", vault, "--grace", "0")["snapshots_purged"] == 1
    stats = dozo.good("stats", vault)
    assert (stats["snapshots"], stats["bytes_protected"]) == (1, size)
    report = dozo.good("scrub", vault)
    assert report["clean"]
    assert report["findings"] == []
    for words in (("list", vault), ("stats", vault), ("scrub", vault), ("prune", vault)):
        answer = dozo(*words)
        assert answer.code == 0
        assert answer.out
        assert not answer.err


def test_damage_is_exit_code_5_and_names_the_snapshots(
    dozo: Dozo, vault: Path, image: Path, tmp_path: Path
) -> None:
    other = tmp_path / "dr"
    dozo.good("init", other)
    first = dozo.good("backup", vault, image, "--name", "disk")["snapshot"]
    dozo.good("copy", vault, other)
    pack = max((vault / "packs").rglob("*"), key=lambda path: path.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 0x10
    pack.write_bytes(data)
    nowhere = {"DOZO_KEYS": str(tmp_path / "no-keys")}
    blind = dozo("scrub", vault, "--json", env=nowhere)
    assert blind.code == 5
    assert not blind.result["clean"]
    assert blind.result["snapshots_touched"].keys() == {first}
    assert blind.result["findings"][0]["key"].endswith(pack.name)
    people = dozo("scrub", vault, env=nowhere)
    assert people.code == 5
    assert first in people.out
    out = tmp_path / "out.raw"
    dozo.bad(5, "vault.chunk_damaged", "restore", vault, first, out)
    assert not out.exists()
    mended = dozo("scrub", vault, "--repair-from", other, "--json", env=nowhere)
    assert mended.code == 0, mended.out
    assert mended.result["repaired"] > 0
    dozo.good("restore", vault, first, out)
    assert out.read_bytes() == image.read_bytes()


def test_what_is_not_a_vault(dozo: Dozo, tmp_path: Path, image: Path) -> None:
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "none", tmp_path / "folder", image):
        for words in (
            ("list", place),
            ("stats", place),
            ("scrub", place),
            ("prune", place),
            ("backup", place, image, "--name", "x"),
            ("restore", place, "abcd", tmp_path / "out"),
            ("delete", place, "abcd"),
            ("undelete", place, "abcd"),
            ("copy", place, place),
            ("grant", place, "--site", "dozo-site-1:" + "A" * 86 + "=="),
        ):
            dozo.bad(3, "vault.not_a_vault", *words)
            if place is not image:
                break
    assert not (tmp_path / "none").exists()
    dozo.bad(4, "vault.exists", "init", tmp_path)
    dozo.bad(2, "blobs.url_unsupported", "list", "ftp://somewhere/vault")
    dozo.bad(6, "blobs.unavailable", "init", image)


def test_a_newer_vault(dozo: Dozo, vault: Path, image: Path) -> None:
    for name in ("header", "header.copy"):
        body = bytearray((vault / name).read_bytes()[:-32])
        body[5] += 1
        (vault / name).write_bytes(bytes(body) + checksum(name, body))
    before = {path: path.read_bytes() for path in vault.rglob("*") if path.is_file()}
    for words in (("list", vault), ("scrub", vault), ("backup", vault, image, "--name", "x")):
        error = dozo.bad(4, "vault.format_unsupported", *words)
        assert "2" in error["message"]
    assert before == {path: path.read_bytes() for path in vault.rglob("*") if path.is_file()}


def test_wrong_or_missing_keys(dozo: Dozo, vault: Path, image: Path, tmp_path: Path) -> None:
    first = dozo.good("backup", vault, image, "--name", "disk")["snapshot"]
    dozo.good("init", tmp_path / "another", "--keys", tmp_path / "wrong")
    out = tmp_path / "out"
    for keys in (tmp_path / "wrong", tmp_path / "missing"):
        dozo.bad(4, "vault.keys_missing", "restore", vault, first, out, "--keys", keys)
        dozo.bad(4, "vault.keys_missing", "backup", vault, image, "--name", "x", "--keys", keys)
        answer = dozo("list", vault, "--json", "--keys", str(keys))
        assert answer.code == 0
        assert [row["name"] for row in answer.result] == [None]
    assert not out.exists()
    assert not (tmp_path / "missing").exists()
    (tmp_path / "broken").write_text("{")
    for keys in (tmp_path / "broken", tmp_path):
        dozo.bad(2, "vault.keys_file_invalid", "list", vault, "--keys", keys)
    unwritable = tmp_path / "dangling" / "keys"
    unwritable.parent.symlink_to(tmp_path / "nowhere" / "at" / "all")
    dozo.bad(6, "vault.keys_file_unwritable", "init", tmp_path / "v3", "--keys", unwritable)
    assert list((tmp_path / "v3").rglob("header*")) == []
    dozo.good("init", tmp_path / "dr", "--keys", tmp_path / "keys-dr")
    dozo.bad(4, "vault.grant_missing", "copy", vault, tmp_path / "dr")
    dozo.bad(2, "vault.public_key_invalid", "grant", vault, "--site", "nonsense")


def test_unknown_snapshots(dozo: Dozo, vault: Path, image: Path, tmp_path: Path) -> None:
    first = dozo.good("backup", vault, image, "--name", "disk")["snapshot"]
    for given in ("f" * 32, "zz", ""):
        for words in (
            ("restore", vault, given, tmp_path / "out"),
            ("delete", vault, first, given),
            ("undelete", vault, given),
            ("copy", vault, vault, given),
        ):
            dozo.bad(3, "vault.snapshot_unknown", *words)
    extents = tmp_path / "extents.json"
    extents.write_text("[]")
    dozo.bad(
        *(3, "vault.snapshot_unknown", "backup", vault, image, "--name", "x"),
        *("--parent", "f" * 32, "--changed", extents),
    )
    assert len(dozo.good("list", vault)) == 1
    dozo.good("delete", vault, first)
    dozo.bad(3, "vault.snapshot_deleted", "restore", vault, first, tmp_path / "out")


def test_bad_images(dozo: Dozo, vault: Path, image: Path, tmp_path: Path) -> None:
    empty, odd, corrupt = (tmp_path / name for name in ("empty", "odd", "corrupt.qcow2"))
    empty.write_bytes(b"")
    odd.write_bytes(bytes(1000))
    corrupt.write_bytes(b"QFI\xfb\x00\x00\x00\x03" + os.urandom(200_000))

    def backup(path: Path) -> tuple[str | Path, ...]:
        return ("backup", vault, path, "--name", "x")

    dozo.bad(3, "volume.image_missing", *backup(tmp_path / "missing"))
    dozo.bad(2, "volume.image_empty", *backup(empty))
    dozo.bad(2, "volume.size_not_sectors", *backup(odd))
    dozo.bad(5, "volume.image_corrupt", *backup(corrupt))
    dozo.bad(2, "volume.image_not_a_file", *backup(tmp_path))
    dozo.bad(2, "image.name_invalid", "backup", vault, image, "--name", "")
    dozo.bad(2, "image.name_invalid", "backup", vault, image, "--name", "x", "--tenant", "a\nb")
    assert dozo.good("list", vault) == []


@pytest.fixture
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], int]]:
    """Start QEMU on an image, without a guest in it; it is killed when the test ends."""
    folder = tmp_path_factory.mktemp("q")
    pids: list[int] = []

    def start(path: Path) -> int:
        command = [
            *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-m", "64", "-S"),
            *("-nodefaults", "-display", "none", "-daemonize"),
            *("-pidfile", str(folder / "pid")),
            *("-blockdev", f"driver=raw,node-name=disk,file.driver=file,file.filename={path}"),
            *("-device", "virtio-blk-pci,drive=disk"),
        ]
        subprocess.run(command, check=True)
        pids.append(int((folder / "pid").read_text()))
        return pids[-1]

    yield start
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_text():
            clock.sleep(0.01)


def test_an_image_in_use_by_a_running_server(
    dozo: Dozo, vault: Path, image: Path, running: Callable[[Path], int]
) -> None:
    first = dozo.good("backup", vault, image, "--name", "disk")["snapshot"]
    running(image)
    dozo.bad(4, "volume.image_in_use", "backup", vault, image, "--name", "disk")
    before = image.read_bytes()
    dozo.bad(4, "volume.image_in_use", "restore", vault, first, image, "--force")
    assert image.read_bytes() == before


def test_bad_outputs(dozo: Dozo, vault: Path, image: Path, tmp_path: Path) -> None:
    first = dozo.good("backup", vault, image, "--name", "disk")["snapshot"]
    taken = tmp_path / "taken"
    taken.write_bytes(b"mine")
    dozo.bad(4, "volume.output_exists", "restore", vault, first, taken)
    assert taken.read_bytes() == b"mine"
    dozo.good("restore", vault, first, taken, "--force")
    assert taken.read_bytes() == image.read_bytes()
    dozo.bad(2, "volume.output_is_directory", "restore", vault, first, tmp_path)
    dozo.bad(3, "volume.output_folder_missing", "restore", vault, first, tmp_path / "no" / "x")
    dozo.bad(
        2, "image.output_format_unknown", "restore", vault, first, tmp_path / "x", "--format", "vdi"
    )
    assert not list(tmp_path.glob(".*part"))


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "null", "{}", "[[0]]", "[[0, 1, 2]]", '[["0", 1]]', "[[0, 1.5]]", "[[true, 1]]",
        "[[-1, 5]]", "[[0, -5]]", "[[0, 99999999999]]", "[[8388600, 1000]]", "[[0, 1]] x",
        "[1e999]",
    ],
)  # fmt: skip
def test_bad_extents(
    dozo: Dozo, vault: Path, image: Path, tmp_path: Path, text: str, parent: str
) -> None:
    extents = tmp_path / "extents.json"
    extents.write_text(text)
    dozo.bad(
        *(2, "extents.malformed", "backup", vault, image, "--name", "x"),
        *("--parent", parent, "--changed", extents),
    )


@pytest.fixture
def parent() -> str:
    """The extents are looked at first, so no snapshot of that name need be there."""
    return "f" * 32


def test_extents_need_a_parent_and_a_file(dozo: Dozo, vault: Path, image: Path) -> None:
    words = ("backup", vault, image, "--name", "x", "--changed", image.with_name("missing"))
    dozo.bad(2, "image.parent_required", *words)
    dozo.bad(2, "extents.malformed", *words, "--parent", "f" * 32)


def test_wrong_usage(dozo: Dozo, vault: Path, image: Path) -> None:
    for words in (
        ("backup", vault, image),
        ("nonsense",),
        ("prune", vault, "--grace", "-1"),
        ("prune", vault, "--grace", "soon"),
        ("init", vault, "--chunk-bytes", "5000"),
        ("delete", vault),
        ("list", vault, "--nonsense"),
    ):
        answer = dozo(*words, "--json")
        assert answer.code == 2
        assert answer.error["kind"] == "usage"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mount a file system with room for so many bytes; it goes when the test ends."""
    mounted: list[Path] = []

    def mount(size_bytes: int) -> Path:
        place = tmp_path / f"disk-{len(mounted)}"
        place.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(place)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_vault_that_runs_full_loses_nothing(
    dozo: Dozo, image: Path, tmp_path: Path, small_disk: Callable[[int], Path]
) -> None:
    disk = small_disk(8 * MIB)
    vault = disk / "vault"
    dozo.good("init", vault)
    first = dozo.good("backup", vault, image, "--name", "disk")["snapshot"]
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(3 * MIB))
    before = image.read_bytes()
    image.write_bytes(os.urandom(3 * MIB))
    error = dozo.bad(6, "blobs.full", "backup", vault, image, "--name", "disk")
    assert str(vault) in error["message"]
    assert [row["snapshot"] for row in dozo.good("list", vault)] == [first]
    assert dozo.good("scrub", vault)["clean"]
    ballast.unlink()
    second = dozo.good("backup", vault, image, "--name", "disk")["snapshot"]
    for snapshot, data in ((first, before), (second, image.read_bytes())):
        out = tmp_path / snapshot
        dozo.good("restore", vault, snapshot, out)
        assert out.read_bytes() == data
    dozo.good("prune", vault, "--grace", "0")
    assert dozo.good("scrub", vault)["clean"]
    assert not list((vault / ".tmp").iterdir())


def test_an_output_that_runs_out_of_space(
    dozo: Dozo, vault: Path, image: Path, small_disk: Callable[[int], Path]
) -> None:
    first = dozo.good("backup", vault, image, "--name", "disk")["snapshot"]
    disk = small_disk(2 * MIB)
    for written in ("raw", "qcow2"):
        answer = dozo("restore", vault, first, disk / "out", "--format", written, "--json")
        assert answer.code in (1, 6), answer.err
        assert answer.error["error"] == "volume.no_space"
        assert list(disk.iterdir()) == []


def test_a_vault_that_may_only_be_read(
    dozo: Dozo, image: Path, tmp_path: Path, small_disk: Callable[[int], Path]
) -> None:
    disk = small_disk(8 * MIB)
    vault = disk / "vault"
    dozo.good("init", vault)
    first = dozo.good("backup", vault, image, "--name", "disk")["snapshot"]
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert dozo.good("scrub", vault)["clean"]
    assert len(dozo.good("list", vault)) == 1
    dozo.good("restore", vault, first, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == image.read_bytes()
    dozo.good("stats", vault)
    for words in (("backup", vault, image, "--name", "x"), ("delete", vault, first)):
        dozo.bad(4, "blobs.read_only", *words)


def test_a_terminated_backup_leaves_no_note(dozo: Dozo, vault: Path, image: Path) -> None:
    """SIGTERM runs the clean-up; what a killed process leaves is another test's affair."""
    image.write_bytes(os.urandom(64 * MIB))
    process = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("dozo")),
            *("vault", "backup", str(vault), str(image), "--name", "x"),
        ],
        env={**os.environ, "DOZO_KEYS": str(dozo.folder / "keys")},
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list((vault / "packs").rglob("*") if (vault / "packs").exists() else []):
        assert process.poll() is None
        clock.sleep(0.005)
    process.terminate()
    _out, err = process.communicate(timeout=60)
    assert process.returncode in (0, 143)
    assert "Traceback" not in err
    assert not list((vault / "pending").iterdir())
    assert dozo.good("scrub", vault)["clean"]
