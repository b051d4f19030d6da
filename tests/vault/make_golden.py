"""Makes a golden vault: `python -m tests.vault.make_golden FOLDER`.

Golden vaults of a released format are never made anew: new code reads old vaults.
"""

import hashlib
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dozo.blobs import open_blobs
from dozo.vault import Keyring, SnapshotDraft, Vault

from .support import CHUNK, extents, keep, noise


def make(folder: Path) -> None:
    """Two snapshots, a template, a tombstone, a hold; two tenants; what each must give."""
    vault = Vault.init(
        open_blobs(str(folder / "vault")), Keyring.load(folder / "keys"), chunk_bytes=CHUNK
    )
    moment = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
    first = noise(6 * CHUNK, 1) + bytes(300 * CHUNK) + noise(CHUNK + 512, 2) + b"text " * 4096
    first = first[: len(first) // 512 * 512]
    second = bytearray(first)
    second[CHUNK : 2 * CHUNK] = noise(CHUNK, 3)
    files = {"definition": b"<domain/>", "nvram": bytes(range(256)) * 8, "empty": b""}
    draft = SnapshotDraft(
        name="root",
        created_at=moment,
        group="ab" * 16,
        facts={"version": 1, "名前": "土蔵"},
        attachments=files,
    )
    one = keep(vault, first, draft=draft).snapshot
    two = vault_incremental(vault, bytes(second), one, moment + timedelta(days=1))
    gone = keep(vault, noise(2 * CHUNK, 4), name="deleted").snapshot
    other = keep(vault, noise(3 * CHUNK, 5), tenant="other").snapshot
    template = vault.clone(
        one, SnapshotDraft(name="golden image", kind="template", created_at=moment)
    )
    vault.delete([gone])
    vault.hold(two, datetime(2999, 1, 1, tzinfo=UTC), "kept for the tests")
    vault.verify(one)
    vault.scrub()
    expected = {
        each: {
            "name": info.sealed.name if info.sealed else None,
            "tenant": info.sealed.tenant if info.sealed else None,
            "kind": info.kind,
            "bytes_volume": info.bytes_volume,
            "created_at": info.created_at.isoformat(),
            "deleted": info.deleted is not None,
            "held": bool(vault.holds(each)),
            "sha256": hashlib.sha256(data).hexdigest(),
            "attachments": {
                name: hashlib.sha256(content).hexdigest()
                for name, content in (files if each == one else {}).items()
            },
        }
        for each, data in {
            one: first,
            two: bytes(second),
            gone: noise(2 * CHUNK, 4),
            other: noise(3 * CHUNK, 5),
            template: first,
        }.items()
        for info in [vault.snapshot(each, include_deleted=True)]
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=2, sort_keys=True) + "\n")


def vault_incremental(vault: Vault, data: bytes, parent: str, moment: datetime) -> str:
    """The second snapshot, with a hint."""
    draft = SnapshotDraft(name="root", created_at=moment)
    return keep(vault, data, draft=draft, parent=parent, changed=extents([(CHUNK, CHUNK)])).snapshot


if __name__ == "__main__":
    make(Path(sys.argv[1]))
