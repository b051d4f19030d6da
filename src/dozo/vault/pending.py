"""Writers at work: what they build on, whether they live, and how a dead one is fenced.

Source: ``docs/vault-format.md``, section "Writers and removal".
"""

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from dozo.blobs import BlobMissing, Blobs
from dozo.model import clock
from dozo.model.message import Message
from dozo.vault.errors import ObjectDamaged
from dozo.vault.format import ObjectKind, create_document, load_document, store_document
from dozo.vault.layout import PENDING, pending_key, snapshot_key
from dozo.vault.manifest import abandoned_document

# A writer on another host, or in another container, cannot be seen to have died. After
# this long it is fenced; if it lives after all it fails cleanly, and nothing is lost.
FOREIGN_WRITER_LIMIT = timedelta(days=7)


BACKUP = "backup"
CLONE = "clone"
COPY = "copy"
REPAIR = "repair"
REWRITE = "rewrite"


@dataclass(frozen=True, slots=True)
class Root:
    """A tree that must stay readable: top segment, levels, and attachment ids."""

    root: bytes
    depth: int
    attachments: tuple[bytes, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """Which process writes, so that another can see that it has died."""

    host: str
    boot: str
    pid: int
    started: str

    @classmethod
    def current(cls) -> "Process":
        """This process."""
        pid = os.getpid()
        return cls(host=_host(), boot=_boot(), pid=pid, started=_start_time(pid) or "")

    def is_dead(self) -> bool:
        """Whether the process is known to be gone; False when that cannot be told."""
        here = Process.current()
        if self.host != here.host:
            return False
        return self.boot != here.boot or _start_time(self.pid) != self.started


@dataclass(frozen=True, kw_only=True, slots=True)
class Pending:
    """A writer's note. ``built`` is its finished root, None while it is still building."""

    snapshot: str
    attempt: str
    purpose: str
    parents: tuple[Root, ...]
    built: Root | None
    started_at: datetime
    process: Process

    @property
    def roots(self) -> tuple[Root, ...]:
        """The trees that this writer relies on."""
        return self.parents if self.built is None else (*self.parents, self.built)

    @property
    def publishes(self) -> bool:
        """Whether the attempt ends by making a snapshot visible."""
        return self.purpose in (BACKUP, CLONE, COPY)

    @property
    def writer(self) -> bytes:
        """The attempt as it stands in the packs (16 bytes)."""
        return bytes.fromhex(self.attempt)

    def may_be_fenced(self) -> bool:
        """Whether the writer is dead, or has been out of sight for too long."""
        if self.process.is_dead():
            return True
        foreign = self.process.host != _host()
        return foreign and clock.now() - self.started_at > FOREIGN_WRITER_LIMIT


def begin(blobs: Blobs, snapshot: str, purpose: str, parents: tuple[Root, ...]) -> Pending:
    """Announce a writer; durable on return, and before its first decision."""
    pending = Pending(
        snapshot=snapshot,
        attempt=secrets.token_hex(16),
        purpose=purpose,
        parents=parents,
        built=None,
        started_at=clock.now(),
        process=Process.current(),
    )
    _store(blobs, pending)
    return pending


def complete(blobs: Blobs, pending: Pending, built: Root) -> Pending:
    """Add the finished root, which from now on is a root for every removal."""
    done = replace(pending, built=built)
    _store(blobs, done)
    return done


def end(blobs: Blobs, pending: Pending) -> None:
    """Take the note away, after publication or after giving up."""
    blobs.delete(pending_key(pending.snapshot, pending.attempt))


def list_pending(blobs: Blobs) -> tuple[list[Pending], list[ObjectDamaged]]:
    """Every writer at work, and the notes that are damaged."""
    found: list[Pending] = []
    damaged: list[ObjectDamaged] = []
    for key in _keys(blobs):
        try:
            document = load_document(blobs, key, ObjectKind.PENDING)
            found.append(_from_document(document, key, url=blobs.url))
        except BlobMissing:
            continue
        except ObjectDamaged as error:
            damaged.append(error)
    return found, damaged


def fence(blobs: Blobs, snapshot: str, attempt: str) -> bool:
    """Make sure that an attempt never publishes; False if it already has."""
    return create_document(
        blobs,
        snapshot_key(snapshot, attempt),
        ObjectKind.SNAPSHOT,
        abandoned_document(attempt),
    )


def _keys(blobs: Blobs) -> Iterator[str]:
    for info in blobs.list(PENDING):
        yield info.key


def _store(blobs: Blobs, pending: Pending) -> None:
    document = {
        "snapshot": pending.snapshot,
        "attempt": pending.attempt,
        "purpose": pending.purpose,
        "parents": [_root_document(root) for root in pending.parents],
        "built": None if pending.built is None else _root_document(pending.built),
        "started_at": clock.to_text(pending.started_at),
        "host": pending.process.host,
        "boot": pending.process.boot,
        "pid": pending.process.pid,
        "process_started": pending.process.started,
    }
    key = pending_key(pending.snapshot, pending.attempt)
    store_document(blobs, key, ObjectKind.PENDING, document)


def _root_document(root: Root) -> dict[str, Any]:
    return {
        "root": root.root.hex(),
        "depth": root.depth,
        "attachments": [object_id.hex() for object_id in root.attachments],
    }


def _root_from(document: dict[str, Any]) -> Root:
    attachments = tuple(bytes.fromhex(text) for text in document["attachments"])
    return Root(bytes.fromhex(document["root"]), int(document["depth"]), attachments)


def _from_document(document: dict[str, Any], key: str, *, url: str) -> Pending:
    try:
        return Pending(
            snapshot=document["snapshot"],
            attempt=document["attempt"],
            purpose=document["purpose"],
            parents=tuple(_root_from(root) for root in document["parents"]),
            built=None if document["built"] is None else _root_from(document["built"]),
            started_at=clock.from_text(document["started_at"]),
            process=Process(
                host=document["host"],
                boot=document["boot"],
                pid=int(document["pid"]),
                started=document["process_started"],
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ObjectDamaged(
            url=url, key=key, reason=Message("it is not a writer's note")
        ) from error


def _host() -> str:
    with suppress(OSError):
        # The same process number means another process in another namespace.
        space = Path("/proc/self/ns/pid").readlink()
        machine = Path("/etc/machine-id").read_text().strip()
        return f"{machine}:{socket.gethostname()}:{space}"
    return socket.gethostname()


def _boot() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _start_time(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command's name, in brackets, may itself hold spaces and brackets.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]
