"""Two sites, of which one is served by a service that can be told to die; and what must hold."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.daemon.support import free_port

from dozo.catalog.models_jobs import Job
from dozo.model import clock
from dozo.services import job_queue, leftovers, notes, operations
from dozo.services.access import Actor, Scope
from dozo.services.pool import READY, Pool
from dozo.services.site import Site

from . import dying_service

SECONDS = 60.0


@dataclass(kw_only=True)
class World:
    """The sites and the service of `main`."""

    folder: Path
    main: Site
    dr: Site
    process: "subprocess.Popen[bytes] | None" = None
    number: int = 0
    # Whatever the cases need: machines, templates.
    things: dict[str, Any] = field(default_factory=dict)

    # -- the service ----------------------------------------------------------------------------

    @property
    def log(self) -> Path:
        return self.folder / "service.log"

    def serve(self) -> None:
        """Start the service, unless it runs, and wait until it answers."""
        if self.process is not None and self.process.poll() is None:
            return
        home = self.main.settings.home
        environment = os.environ | {"DOZO_SERVICE_LISTEN": f"127.0.0.1:{free_port()}"}
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, dying_service.__file__, str(home), str(self.folder)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.until(lambda: "serving on" in self.log.read_text(), "the service to begin")

    def end(self, number: int = signal.SIGKILL) -> int:
        """End the service; its exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(SECONDS)

    def arm(self, kind: str, effect: str, number: int, *, victim: int = 0) -> None:
        """Let the next job of the kind be the service's last, or that of another process."""
        text = json.dumps({"kind": kind, "effect": effect, "number": number, "victim": victim})
        (self.folder / "armed.json").write_text(text)

    @property
    def trace(self) -> list[str]:
        """What the armed job did, in order."""
        return (self.folder / "trace").read_text().splitlines()

    def until(self, what: Any, words: str) -> None:
        """Wait until something holds."""
        deadline = clock.monotonic() + SECONDS
        while not what():
            assert clock.monotonic() < deadline, f"waited in vain for {words}\n{self.said()}"
            clock.sleep(0.02)

    def said(self) -> str:
        """The end of the service's log, for when a test fails."""
        return self.log.read_text()[-4000:] if self.log.exists() else ""

    # -- jobs -----------------------------------------------------------------------------------

    def ask(self, kind: str, params: dict[str, Any]) -> str:
        scope = Scope(self.main, Actor.system("test"))
        return job_queue.submit(scope, operations.kind(kind), params).job_id

    def row(self, job_id: str) -> Job:
        found: Job = self.main.catalog.jobs.get(job_id=job_id)
        return found

    def ended(self, job_id: str) -> Job:
        """The job's row once it has ended."""
        self.until(lambda: self.row(job_id).state in job_queue.ENDED, f"job {job_id[:8]} to end")
        return self.row(job_id)

    def do(self, kind: str, params: dict[str, Any]) -> Job:
        """Run a job to its good end."""
        row = self.ended(self.ask(kind, params))
        assert row.state == "done", f"{kind}: {row.state}: {row.error_text}\n{self.lines(row)}"
        return row

    def killed(self, kind: str, params: dict[str, Any], effect: str, number: int) -> str:
        """Run a job until the service dies at that point of it; the job."""
        self.serve()
        self.arm(kind, effect, number)
        job_id = self.ask(kind, params)
        self.until(
            lambda: self.process.poll() is not None or self.row(job_id).state in job_queue.ENDED,
            f"the end of the service at {effect} {number}",
        )
        assert self.process is not None
        seen = Counter(self.trace)
        assert self.process.poll() == -signal.SIGKILL, (
            f"{kind} went past {effect} {number}: {self.row(job_id).error_text} {dict(seen)}"
        )
        return job_id

    def lines(self, row: Job) -> str:
        return "\n".join(one.text for one in self.main.catalog.job_lines.filter(job=row))

    # -- what must hold -------------------------------------------------------------------------

    def nothing_is_left(self) -> None:
        """No job, note, capture, scratch file, half-made image or server of an image is left."""
        site = self.main
        waiting = (*job_queue.ACTIVE, *job_queue.WAITING)
        self.until(lambda: not site.catalog.jobs.filter(state__in=waiting).exists(), "idle jobs")
        # A capture's own watchdog may be at it still.
        self.until(lambda: self._left() == [], "what is left to be gone")

    def _left(self) -> list[str]:
        site = self.main
        pool = Pool(site.settings.pool)
        captures = leftovers.captures_dir(site)
        scratch = site.settings.scratch
        records = [image for image in pool.images() if image.state != READY]
        known = {image.path for image in pool.images()}
        files = [one for one in pool.folder.iterdir() if one.is_file() and str(one) not in known]
        return [
            *(f"note {note.path.name}" for note in notes.read_all(site.settings.notes)),
            *(f"capture {one}" for one in (captures.glob("*.json") if captures.is_dir() else ())),
            *(f"scratch {one}" for one in scratch.rglob("*") if one.is_file()),
            *(f"record {image.name}" for image in records),
            *(f"file {one}" for one in files),
            *(f"program {one}" for one in self._programs()),
        ]

    def _programs(self) -> list[str]:
        """Block servers of the site's images that nobody owns any more."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0].endswith(b"qemu-nbd") and any(
                str(self.folder).encode() in word for word in words
            ):
                found.append(b" ".join(words).decode())
        return found

    def vault_is_sound(self) -> None:
        """Every frame reads back, and the catalog shows what the vault has."""
        site = self.main
        assert site.vault.scrub().is_clean
        if site.vault.snapshot_ids() - set(
            site.catalog.copies.values_list("snapshot_id", flat=True)
        ):
            # What upkeep does when it sees what the catalog has not heard of.
            self.do("site.sync", {})
        shown = {info.snapshot for info in site.vault.snapshots()}
        rows = {
            row.snapshot_id
            for rows in (site.catalog.snapshots, site.catalog.templates)
            for row in rows.filter(deleted_at=None)
        }
        assert shown == rows
        states = site.catalog.copies.exclude(state__in=["stored", "verified", "missing"])
        assert not list(states.values_list("state", flat=True))

    def no_writer_is_left(self) -> None:
        """Prune fences the dead writers, and then nothing is stored that nothing needs."""
        vault = self.main.vault
        vault.prune(grace_seconds=0)
        assert [one.key for one in vault.blobs.list("pending/")] == []
        assert vault.prune(grace_seconds=0).bytes_freed == 0
