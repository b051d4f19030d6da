"""`dozo serve` that dies by SIGKILL at a chosen point in the middle of one kind of job.

As a script: ``dying_service.py HOME FOLDER``. Whenever a job begins it looks at FOLDER/armed.json:
``{"kind": …, "effect": …, "number": …}``. If the kind is the job's, what that job does to the world
outside its memory, its *effects*, is counted and written to FOLDER/trace, a line each, and the
process dies right after the effect of that name (any name if empty) has happened so often. With
number 0 it only writes the trace; with ``"victim": PID`` that process is killed instead.
"""

import dataclasses
import functools
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import libvirt
import libvirt_qemu
from django.db.backends import utils

from dozo.blobs.directory import DirectoryBlobs
from dozo.catalog.store import set_up_django
from dozo.daemon import serve
from dozo.services import notes, operations, upkeep
from dozo.services.job_work import JobWork
from dozo.services.pool import Pool

LOOPS = frozenset(
    f"dozo-{name}"
    for name in (
        *("dispatch", "schedules", "upkeep", "inventory", "mend", "clean"),
        *("forget", "news", "tell", "adopt"),
    )
)
CHANGES = re.compile(r"\s*(INSERT|UPDATE|DELETE)\b[^\"]*\"(\w+)\"", re.IGNORECASE)
DOMAIN_CALLS = (
    *("backupBegin", "abortJob", "create", "createWithFlags", "shutdown", "shutdownFlags"),
    *("destroy", "destroyFlags", "setMetadata", "undefineFlags"),
)


class Effects:
    """Counts what the armed job does, and dies when it is told to."""

    def __init__(self, folder: Path) -> None:
        self._armed_file = folder / "armed.json"
        self._trace = os.open(folder / "trace", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._lock = threading.Lock()
        self._job = ""
        self._effect = ""
        self._number = 0
        self._victim = os.getpid()
        self._seen: Counter[str] = Counter()

    def begin(self, kind: str) -> bool:
        """Whether the job that begins in this thread is the armed one."""
        with self._lock:
            try:
                armed = json.loads(self._armed_file.read_text())
            except FileNotFoundError:
                return False
            if armed["kind"] != kind:
                return False
            self._armed_file.unlink()
            os.ftruncate(self._trace, 0)
            self._effect, self._number = armed["effect"], armed["number"]
            self._victim = armed.get("victim") or os.getpid()
            self._seen.clear()
            self._job = threading.current_thread().name
        self.happened("begin")
        return True

    def over(self) -> None:
        """The armed job's work is done; its row does not say so yet."""
        self.happened("end")
        self._job = ""

    def happened(self, effect: str) -> None:
        """Something was done; die if this was it."""
        if not self._job or not self._is_of_job(threading.current_thread().name):
            return
        with self._lock:
            self._seen[effect] += 1
            os.write(self._trace, f"{effect}\n".encode())
            so_often = self._seen[effect] if self._effect else self._seen.total()
            if self._effect in {"", effect} and so_often == self._number:
                os.kill(self._victim, signal.SIGKILL)

    def _is_of_job(self, thread: str) -> bool:
        """Not the loops, the beat or another job; the job's own thread and its helpers are."""
        if thread.startswith("job "):
            return thread == self._job
        return thread.startswith("dozo") and thread not in LOOPS


effects: Effects


def after(owner: Any, name: str, effect: Callable[..., str]) -> None:
    """Let a function tell that it has happened."""
    real = getattr(owner, name)

    @functools.wraps(real)
    def told(*arguments: Any, **options: Any) -> Any:
        result = real(*arguments, **options)
        said = effect(*arguments, **options)
        if said:
            effects.happened(said)
        return result

    setattr(owner, name, told)


def watch_storage() -> None:
    """The vault, the pool, notes and the catalog."""
    for method in ("put", "create", "delete"):
        after(
            DirectoryBlobs,
            method,
            lambda _self, key, *_, m=method: f"vault.{m} {key.split('/')[0]}",
        )
    after(notes, "_write", lambda _path, body: f"note {body.get('kind')}")
    after(Pool, "_write", lambda _self, image: f"pool {image.state}")
    after(Pool, "discard", lambda _self, _image: "pool.discard")
    after(JobWork, "step", lambda _self, text: f"step {text.split()[0]}")
    after(JobWork, "add_done", lambda _self, _count: "bytes")

    def statement(_self: object, sql: str, *_: object) -> str:
        found = CHANGES.match(sql)
        return f"catalog.{found[1].lower()} {found[2]}" if found else ""

    after(utils.CursorWrapper, "execute", statement)


def watch_hypervisor() -> None:
    """libvirt and the programs that are started."""
    for method in DOMAIN_CALLS:
        after(libvirt.virDomain, method, lambda *_, m=method, **__: f"libvirt.{m}")
    after(libvirt.virConnect, "defineXML", lambda *_, **__: "libvirt.defineXML")
    after(libvirt.virDomainCheckpoint, "delete", lambda *_, **__: "libvirt.checkpoint-delete")
    after(
        libvirt_qemu,
        "qemuAgentCommand",
        lambda _domain, command, *_, **__: f"agent {json.loads(command)['execute']}",
    )
    after(
        subprocess.Popen,
        "__init__",
        lambda _self, command, *_, **__: f"program {Path(str(command[0])).name}",
    )


def watch_jobs() -> None:
    """Where a job's work begins and ends."""
    for name, kind in list(operations.KINDS.items()):

        def run(*arguments: Any, name: str = name, real: Any = kind.run) -> Any:
            armed = effects.begin(name)
            result = real(*arguments)
            if armed:
                effects.over()
            return result

        operations.KINDS[name] = dataclasses.replace(kind, run=run)


def main() -> None:
    """Serve until something kills."""
    global effects  # noqa: PLW0603  one process, one sensor
    home, folder = Path(sys.argv[1]), Path(sys.argv[2])
    effects = Effects(folder)
    watch_storage()
    watch_hypervisor()
    watch_jobs()
    # Upkeep asks for the same kinds of jobs: it would be in the way of knowing which one died.
    upkeep.submit_due = lambda *_, **__: []
    set_up_django()
    serve.run(home)


if __name__ == "__main__":
    main()
