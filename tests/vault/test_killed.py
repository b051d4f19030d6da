"""Real processes, killed hard at storage calls and at random times; and two at once.

After each kill: what was promised restores, nothing incomplete is visible, a scrub is clean,
the same command succeeds, and a prune removes what the dead one left.
"""

import contextlib
import io
import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from dozo.blobs import DirectoryBlobs
from dozo.cli.app import run
from dozo.model import clock
from dozo.vault import Keyring, Vault

from .support import CHUNK, check_all, keep, new_vault, noise, restored

ENTRY = Path(__file__).with_name("crashing.py")
FACTOR = int(os.environ.get("DOZO_SWEEP", "1"))
KILLED = -signal.SIGKILL


@dataclass
class Field:
    """Two vaults on disk, an image, and the command."""

    folder: Path
    expected: dict[str, bytes]
    deleted: list[str]
    image: bytes

    def vault(self, name: str = "main") -> Vault:
        return Vault.open(DirectoryBlobs(self.folder / name), Keyring.load(self.folder / "keys"))

    def start(self, *words: str, die_at: str = "") -> "subprocess.Popen[str]":
        environment = {**os.environ, "DOZO_KEYS": str(self.folder / "keys")}
        environment["DOZO_TEST_DIE_AT"] = die_at
        return subprocess.Popen(
            [sys.executable, str(ENTRY), "vault", *words, "--json"],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, die_at: str = "") -> tuple[int, Any]:
        """To the end in this process; in one of its own where it is to be killed."""
        if die_at:
            process = self.start(*words, die_at=die_at)
            out, err = process.communicate(timeout=120)
            code = process.returncode
        else:
            told, complained = io.StringIO(), io.StringIO()
            with (
                contextlib.chdir(self.folder),
                mock.patch.dict(os.environ, {"DOZO_KEYS": str(self.folder / "keys")}),
                contextlib.redirect_stdout(told),
                contextlib.redirect_stderr(complained),
            ):
                code = run(["vault", *words, "--json"])
            out, err = told.getvalue(), complained.getvalue()
        assert "Traceback" not in err
        assert code in (0, KILLED), err
        return code, json.loads(out) if code == 0 else None

    def learn(self, name: str = "main") -> None:
        """A backup may have been published just before its process was killed."""
        for info in self.vault(name).snapshots():
            if info.snapshot not in self.expected:
                self.expected[info.snapshot] = self.image

    def settle(self, name: str = "main") -> None:
        """Nothing that a dead process left is in the way, or stays."""
        vault = self.vault(name)
        vault.prune(grace_seconds=0)
        assert not list(vault.blobs.list("pending"))
        assert not list(vault.blobs.list("deleting"))
        temporary = self.folder / name / ".tmp"
        assert not temporary.exists() or not list(temporary.iterdir())
        report = vault.prune(grace_seconds=0)
        assert (report.packs_removed, report.packs_rewritten) == (0, 0)


@pytest.fixture
def field(tmp_path: Path) -> Field:
    vault = new_vault(tmp_path, DirectoryBlobs(tmp_path / "main"), chunk_bytes=16 * CHUNK)
    new_vault(tmp_path, DirectoryBlobs(tmp_path / "peer"), chunk_bytes=16 * CHUNK)
    expected = {}
    shared = noise(40 * 16 * CHUNK, 1)
    deleted = [keep(vault, shared[: 20 * 16 * CHUNK] + noise(20 * 16 * CHUNK, 2)).snapshot]
    vault.delete(deleted)
    expected[keep(vault, shared).snapshot] = shared
    image = shared[: 30 * 16 * CHUNK] + noise(10 * 16 * CHUNK, 3) + bytes(16 * CHUNK)
    (tmp_path / "image").write_bytes(image)
    return Field(tmp_path, expected, deleted, image)


HOWS = ["before", "after", "torn"]


@pytest.mark.parametrize("at", range(1, 7))
def test_a_backup_killed_at_each_change(field: Field, at: int) -> None:
    words = ("backup", "main", "image", "--name", "disk")
    code, _done = field.run(*words, die_at=f"{at},{HOWS[at % 3]}")
    assert code == KILLED or at > 5
    field.learn()
    assert len(field.expected) <= 2, "one that was killed at most"
    check_all(field.vault(), field.expected)
    _code, done = field.run(*words)
    field.expected[done["snapshot"]] = field.image
    check_all(field.vault(), field.expected)
    field.settle()
    check_all(field.vault(), field.expected)


@pytest.mark.parametrize("at", range(1, 12))
def test_a_prune_killed_at_each_change(field: Field, at: int) -> None:
    words = ("prune", "main", "--grace", "0")
    field.run(*words, die_at=f"{at},{HOWS[at % 3]}")
    check_all(field.vault(), field.expected)
    _code, done = field.run("backup", "main", "image", "--name", "disk")
    field.expected[done["snapshot"]] = field.image
    code, _done = field.run(*words)
    assert code == 0
    check_all(field.vault(), field.expected)
    field.settle()


@pytest.mark.parametrize("at", range(1, 7))
def test_a_copy_killed_at_each_change(field: Field, at: int) -> None:
    words = ("copy", "main", "peer")
    field.run(*words, die_at=f"{at},{HOWS[at % 3]}")
    check_all(field.vault("peer"), field.expected, exactly=False)
    code, _done = field.run(*words)
    assert code == 0
    check_all(field.vault("peer"), field.expected)
    field.settle("peer")
    check_all(field.vault("peer"), field.expected)


COMMANDS = {
    "backup": ("backup", "main", "image", "--name", "disk"),
    "prune": ("prune", "main", "--grace", "0"),
    "copy": ("copy", "main", "peer"),
    "restore": ("restore", "main", "SNAPSHOT", "out", "--force"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_random_times(field: Field, name: str) -> None:
    snapshot = next(iter(field.expected))
    words = [snapshot if word == "SNAPSHOT" else word for word in COMMANDS[name]]
    chosen = random.Random(name)
    (field.folder / "out").write_bytes(b"what was there before")
    started = clock.monotonic()
    field.start(*words).communicate(timeout=60)
    usual = clock.monotonic() - started
    field.learn()
    for _turn in range(2 * FACTOR):
        (field.folder / "out").write_bytes(b"what was there before")
        process = field.start(*words)
        # Most of the time goes into starting Python; the kills belong into the rest.
        clock.sleep(usual * chosen.uniform(0.5, 1.0))
        process.kill()
        process.communicate(timeout=60)
        field.learn()
        check_all(field.vault(), field.expected)
        check_all(field.vault("peer"), field.expected, exactly=False)
        assert (field.folder / "out").read_bytes() in (
            b"what was there before",
            field.expected[snapshot],
        )
    code, _done = field.run(*words)
    assert code == 0
    field.learn()
    check_all(field.vault(), field.expected)
    for place in ("main", "peer"):
        field.settle(place)
    assert not list(field.folder.glob(".*part"))


def test_two_processes_on_one_vault(field: Field) -> None:
    """Backups, copies and prunes of several processes at the same time, and nobody is hurt."""
    busy = [
        field.start("backup", "main", "image", "--name", "one"),
        field.start("backup", "main", "image", "--name", "two"),
        field.start("prune", "main", "--grace", "0"),
        field.start("copy", "main", "peer"),
        field.start("prune", "main", "--grace", "0"),
        field.start("scrub", "main"),
    ]
    answers = [(process.communicate(timeout=120), process.returncode) for process in busy]
    for (_out, err), code in answers:
        assert code == 0, err
    for (out, _err), _code in answers[:2]:
        field.expected[json.loads(out)["snapshot"]] = field.image
    check_all(field.vault(), field.expected)
    check_all(field.vault("peer"), field.expected, exactly=False)
    field.settle()
    check_all(field.vault(), field.expected)


def test_a_writer_that_is_stopped_is_not_taken_for_dead(field: Field) -> None:
    """A prune with no grace beside a backup that was stopped in the middle."""
    (field.folder / "image").write_bytes(noise(64 << 20, 7))
    process = field.start("backup", "main", "image", "--name", "large")
    packs = field.folder / "main" / "packs"
    before = len(list(packs.rglob("*")))
    while len(list(packs.rglob("*"))) == before:
        assert process.poll() is None
        clock.sleep(0.002)
    process.send_signal(signal.SIGSTOP)
    try:
        for _each in range(2):
            field.vault().prune(grace_seconds=0)
        check_all(field.vault(), field.expected)
    finally:
        process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert restored(field.vault(), json.loads(out)["snapshot"]) == noise(64 << 20, 7)
