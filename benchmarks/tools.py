"""What is measured: each tool's way to do the same things."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

DOZO = [str(Path(sys.executable).with_name("dozo"))]
LOOP = [sys.executable, str(Path(__file__).with_name("bare_loop.py"))]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One run of one program: seconds, and the largest memory of it and its children."""

    seconds: float
    peak_bytes: int
    output: str


def run(command: list[str], **environment: str) -> Measured:
    """Run a program to its end, timed. Raises ``CalledProcessError``."""
    os.sync()
    before = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **environment}
    ) as process:
        output, errors = process.stdout.read(), process.stderr.read()
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - before
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, output, errors)
    return Measured(
        seconds=seconds, peak_bytes=usage.ru_maxrss * 1024, output=output.decode(errors="replace")
    )


def stored_bytes(folder: Path) -> int:
    """The bytes of all files below a folder, or of one file."""
    if folder.is_file():
        return folder.stat().st_size
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class Dozo:
    """This project."""

    name = "dozo"

    def __init__(self, folder: Path) -> None:
        self.store = folder / "dozo-vault"
        self._keys = {"DOZO_KEYS": str(folder / "dozo-keys")}

    def start(self) -> None:
        shutil.rmtree(self.store, ignore_errors=True)
        run([*DOZO, "vault", "init", str(self.store)], **self._keys)

    def backup(self, image: Path) -> Measured:
        return run(
            [*DOZO, "vault", "backup", str(self.store), str(image), "--name", "v", "--json"],
            **self._keys,
        )

    def incremental(self, image: Path, changed: list[tuple[int, int]]) -> Measured:
        hint = self.store.with_suffix(".extents.json")
        hint.write_text(json.dumps(changed))
        return run(
            [
                *DOZO,
                "vault",
                "backup",
                str(self.store),
                str(image),
                "--name",
                "v",
                "--json",
                "--parent",
                self._newest(),
                "--changed",
                str(hint),
            ],
            **self._keys,
        )

    def restore(self, output: Path) -> Measured:
        return run(
            [*DOZO, "vault", "restore", str(self.store), self._newest(), str(output), "--force"],
            **self._keys,
        )

    def check(self) -> Measured:
        return run([*DOZO, "vault", "scrub", str(self.store)], **self._keys)

    def _newest(self) -> str:
        listed = run([*DOZO, "vault", "list", str(self.store), "--json"], **self._keys)
        return str(json.loads(listed.output)[-1]["snapshot"])


class Restic:
    """restic, with its defaults."""

    name = "restic"

    def __init__(self, folder: Path) -> None:
        self.store = folder / "restic"
        self._restored = folder / "restic-restored"
        self._settings = {
            "RESTIC_PASSWORD": "benchmark",
            "RESTIC_REPOSITORY": str(self.store),
            "RESTIC_CACHE_DIR": str(folder / "restic-cache"),
        }

    def start(self) -> None:
        shutil.rmtree(self.store, ignore_errors=True)
        run(["restic", "init"], **self._settings)

    def backup(self, image: Path) -> Measured:
        # Without --force an unchanged file is skipped by its time and size, unread.
        return run(["restic", "backup", "--force", str(image)], **self._settings)

    def restore(self, output: Path) -> Measured:
        shutil.rmtree(self._restored, ignore_errors=True)
        done = run(
            ["restic", "restore", "latest", *self._sparse(), "--target", str(self._restored)],
            **self._settings,
        )
        found = next(path for path in self._restored.rglob("*") if path.is_file())
        found.replace(output)
        return done

    def check(self) -> Measured:
        return run(["restic", "check", "--read-data"], **self._settings)

    def _sparse(self) -> list[str]:
        # Since restic 0.15 a restore can leave holes.
        known = run(["restic", "restore", "--help"]).output
        return ["--sparse"] if "--sparse" in known else []


class Borg:
    """borg 1, authenticated encryption with BLAKE2 and zstd level 1."""

    name = "borg"

    def __init__(self, folder: Path) -> None:
        self.store = folder / "borg"
        self._folder = folder
        self._count = 0
        self._settings = {
            "BORG_PASSPHRASE": "benchmark",
            "BORG_BASE_DIR": str(folder / "borg-base"),
            "BORG_REPO": str(self.store),
        }

    def start(self) -> None:
        shutil.rmtree(self.store, ignore_errors=True)
        run(["borg", "init", "--encryption=repokey-blake2"], **self._settings)

    def backup(self, image: Path) -> Measured:
        self._count += 1
        return run(
            [
                "borg",
                "create",
                "--sparse",
                "--files-cache=disabled",
                "--compression=zstd,1",
                f"::a{self._count}",
                str(image),
            ],
            **self._settings,
        )

    def restore(self, output: Path) -> Measured:
        here = Path.cwd()
        target = self._folder / "borg-restored"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        os.chdir(target)
        try:
            done = run(["borg", "extract", "--sparse", f"::a{self._count}"], **self._settings)
        finally:
            os.chdir(here)
        found = next(path for path in target.rglob("*") if path.is_file())
        found.replace(output)
        return done

    def check(self) -> Measured:
        return run(["borg", "check", "--verify-data"], **self._settings)


class BareLoop:
    """The limit."""

    name = "bare loop"

    def __init__(self, folder: Path, *, chunk: int, level: int) -> None:
        self.store = folder / "bare-loop"
        self._shape = [str(chunk), str(level)]
        self._size = 0

    def start(self) -> None:
        self.store.unlink(missing_ok=True)

    def backup(self, image: Path) -> Measured:
        self._size = image.stat().st_size
        return run([*LOOP, "backup", str(image), str(self.store), *self._shape])

    def restore(self, output: Path) -> Measured:
        return run([*LOOP, "restore", str(self.store), str(output), str(self._size)])
