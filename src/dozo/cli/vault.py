"""`dozo vault …`: image files and a vault, with no service, no libvirt and no database."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from dozo.cli.exits import EXIT_CODES
from dozo.cli.output import (
    AsJson,
    plain,
    print_facts,
    print_json,
    print_table,
    say,
    short,
    size,
    when,
)
from dozo.cli.output import progress as shown_progress
from dozo.model.errors import ErrorKind
from dozo.model.message import Message, counted
from dozo.model.progress import Progress

app = typer.Typer(help="Image files and a vault, without any service.", no_args_is_help=True)

VaultUrl = Annotated[str, typer.Argument(metavar="VAULT", help="A vault's folder or address.")]
Keys = Annotated[
    Path | None,
    typer.Option("--keys", envvar="DOZO_KEYS", help="The keys file.", show_envvar=True),
]
Snapshots = Annotated[
    list[str], typer.Argument(metavar="SNAPSHOT...", help="Ids, or the beginnings of ids.")
]


@contextmanager
def _progress(label: str, *, as_json: bool) -> Iterator[Progress]:
    with shown_progress(as_json=as_json) as work:
        yield work.bytes_of(label)


@app.command()
def init(
    vault: VaultUrl,
    keys: Keys = None,
    chunk_bytes: Annotated[
        int | None,
        typer.Option(help="How long the pieces are; a power of two.", min=4096, max=16 << 20),
    ] = None,
    level: Annotated[
        int | None, typer.Option(help="The zstd level for new data.", min=1, max=19)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a vault in an empty place, and add its key to the keys file."""
    from dozo.services import image_backup

    if chunk_bytes is not None and chunk_bytes & (chunk_bytes - 1):
        raise typer.BadParameter(
            Message("{chunk_bytes} is not a power of two", chunk_bytes=chunk_bytes)
        )
    done = image_backup.init(vault, keys, chunk_bytes=chunk_bytes, level=level)
    if as_json:
        print_json(done)
        return
    say(Message("made vault {vault} at {url}", vault=done.vault[:12], url=done.url))
    say(Message("its key is in {file}: keep a copy of it in a safe place,", file=done.keys_file))
    say(Message("without it nothing in the vault can be read"))
    say(Message("the public half is in {file}", file=done.public_key_file))


@app.command()
def grant(
    vault: VaultUrl,
    site: Annotated[str, typer.Option(help="The other site's public key, or its .pub file.")],
    keys: Keys = None,
    as_json: AsJson = False,
) -> None:
    """Let another site open everything in the vault, now and later."""
    from dozo.services import image_backup

    done = image_backup.grant(vault, keys, site)
    if as_json:
        print_json(done)
    else:
        say(
            Message(
                "site {site} can open the vault ({tenants} tenants were new to it)",
                site=done.site[:12],
                tenants=done.tenants,
            )
        )


@app.command()
def backup(
    vault: VaultUrl,
    image: Annotated[Path, typer.Argument(help="A raw or qcow2 image.")],
    name: Annotated[str, typer.Option(help="What the volume is called.")],
    keys: Keys = None,
    tenant: Annotated[str, typer.Option(help="Whose data they are.")] = "default",
    format: Annotated[
        str | None,
        typer.Option(help="The image's format; else found out from its content."),
    ] = None,
    parent: Annotated[
        str | None, typer.Option(help="The snapshot that the changes were counted from.")
    ] = None,
    changed: Annotated[
        Path | None,
        typer.Option(metavar="EXTENTS.json", help="What may have changed since the parent."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Store an image as a new snapshot; only what the vault lacks is stored."""
    from dozo.services import image_backup

    with _progress(Message("backing up {name}", name=name), as_json=as_json) as progress:
        done = image_backup.backup(
            vault,
            keys,
            image,
            name=name,
            tenant=tenant,
            format=format,
            parent=parent,
            changed=changed,
            progress=progress,
        )
    if as_json:
        print_json(done)
        return
    say(f"snapshot {done.snapshot}")
    say(
        Message(
            "{volume} volume, {read} read, {new} new, {stored} stored, {seconds:.1f} s",
            volume=size(done.bytes_volume),
            read=size(done.bytes_read),
            new=size(done.bytes_new),
            stored=size(done.bytes_stored),
            seconds=done.seconds,
        )
    )


@app.command()
def restore(
    vault: VaultUrl,
    snapshot: Annotated[str, typer.Argument(help="Id, or the beginning of an id.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The image to write.")],
    keys: Keys = None,
    format: Annotated[str, typer.Option(help="raw or qcow2.")] = "raw",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a snapshot to a new image; every chunk is checked on the way."""
    from dozo.services import image_backup

    with _progress("restoring", as_json=as_json) as progress:
        done = image_backup.restore(
            vault, keys, snapshot, output, format=format, force=force, progress=progress
        )
    if as_json:
        print_json(done)
    else:
        say(
            Message(
                "wrote {written} of data to {output} in {seconds:.1f} s",
                written=size(done.bytes_written),
                output=output,
                seconds=done.seconds,
            )
        )


@app.command("list")
def list_(
    vault: VaultUrl,
    keys: Keys = None,
    name: Annotated[str | None, typer.Option(help="Only snapshots of this name.")] = None,
    as_json: AsJson = False,
) -> None:
    """List snapshots, oldest first. Names need the vault's key."""
    from dozo.services import image_backup

    found = [_row(info) for info in image_backup.snapshots(vault, keys, name=name)]
    if as_json:
        print_json(found)
        return
    print_table(
        ["snapshot", "name", "tenant", "taken", "volume"],
        [
            [
                short(row["snapshot"]),
                row["name"] or "(sealed)",
                row["tenant"] or "(sealed)",
                when(row["created_at"]),
                size(row["bytes_volume"]),
            ]
            for row in found
        ],
        empty=Message("no snapshots"),
    )


@app.command()
def delete(
    vault: VaultUrl, snapshots: Snapshots, keys: Keys = None, as_json: AsJson = False
) -> None:
    """Delete snapshots; until they are pruned they can be brought back."""
    from dozo.services import image_backup

    _changed(image_backup.delete(vault, keys, snapshots), "deleted", as_json=as_json)


@app.command()
def undelete(
    vault: VaultUrl, snapshots: Snapshots, keys: Keys = None, as_json: AsJson = False
) -> None:
    """Bring deleted snapshots back."""
    from dozo.services import image_backup

    _changed(
        image_backup.undelete(vault, keys, snapshots), Message("brought back"), as_json=as_json
    )


@app.command()
def prune(
    vault: VaultUrl,
    grace: Annotated[
        int, typer.Option(help="Seconds for which deleted snapshots can be brought back.", min=0)
    ] = 7 * 24 * 3600,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Free what only deleted snapshots needed. Needs no keys."""
    from dozo.services import image_backup

    done = image_backup.prune(vault, grace_seconds=grace, dry_run=dry_run)
    if as_json:
        print_json(done)
        return
    verb = Message("would free") if done.dry_run else "freed"
    say(
        Message(
            "{verb} {freed}: {snapshots} snapshots, {removed} packs removed,"
            " {rewritten} rewritten; {kept} stay",
            verb=verb,
            freed=size(done.bytes_freed),
            snapshots=done.snapshots_purged,
            removed=done.packs_removed,
            rewritten=done.packs_rewritten,
            kept=size(done.bytes_kept),
        )
    )


@app.command()
def scrub(
    vault: VaultUrl,
    repair_from: Annotated[
        str | None,
        typer.Option(metavar="VAULT2", help="Mend from this vault what it has whole."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Read everything back. Needs no keys; exit code 5 while damage remains."""
    from dozo.services import image_backup

    with _progress("scrubbing", as_json=as_json) as progress:
        done = image_backup.scrub(vault, repair_from=repair_from, progress=progress)
    if as_json:
        unreadable = len(done.unreadable)
        print_json({**plain(done), "clean": done.is_clean, "unreadable": unreadable})
    else:
        print_facts(
            {
                "read": Message(
                    "{read}, {packs} packs, {others} other objects",
                    read=size(done.bytes_read),
                    packs=done.packs_read,
                    others=done.objects_read,
                ),
                "mended": str(done.repaired),
                "damage": str(len(done.findings)) if done.findings else "none",
            }
        )
        for finding in done.findings:
            say(Message("damaged: {key}: {problem}", key=finding.key, problem=finding.problem))
        for snapshot, chunks in sorted(done.snapshots_touched.items()):
            say(
                Message(
                    "touches snapshot {snapshot} ({chunks} chunks cannot be read)",
                    snapshot=snapshot,
                    chunks=chunks,
                )
            )
    return 0 if done.is_clean else EXIT_CODES[ErrorKind.DAMAGED]


@app.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="The vault to copy from.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="The vault to copy to.")],
    snapshots: Annotated[
        list[str] | None, typer.Argument(metavar="[SNAPSHOT...]", help="All where none is named.")
    ] = None,
    keys: Keys = None,
    as_json: AsJson = False,
) -> None:
    """Copy snapshots to another vault: missing frames only, and without opening them."""
    from dozo.services import image_backup

    with _progress("copying", as_json=as_json) as progress:
        done = image_backup.copy(source, target, keys, snapshots or [], progress=progress)
    if as_json:
        print_json(done)
        return
    say(
        counted(
            len(done.copied),
            "copied {count} snapshot ({size}) in {seconds:.1f} s; {there} were there",
            "copied {count} snapshots ({size}) in {seconds:.1f} s; {there} were there",
            size=size(done.bytes_copied),
            seconds=done.seconds,
            there=len(done.already_there),
        )
    )
    for snapshot, reason in sorted(done.skipped.items()):
        say(Message("left out {snapshot}: {reason}", snapshot=short(snapshot), reason=reason))


@app.command()
def stats(vault: VaultUrl, as_json: AsJson = False) -> None:
    """Sizes and counts. Needs no keys."""
    from dozo.services import image_backup

    done = image_backup.stats(vault)
    if as_json:
        print_json(done)
        return
    print_facts(
        {
            "vault": done.vault_id,
            "chunk size": size(done.chunk_bytes),
            "snapshots": Message(
                "{snapshots} ({deleted} deleted, not yet pruned)",
                snapshots=done.snapshots,
                deleted=done.deleted_snapshots,
            ),
            "protected": size(done.bytes_protected),
            "stored": Message(
                "{stored} in {packs} packs, {frames} frames",
                stored=size(done.bytes_stored),
                packs=done.packs,
                frames=done.frames,
            ),
        }
    )


def _row(info: Any) -> dict[str, Any]:
    sealed = info.sealed
    return {
        "snapshot": info.snapshot,
        "name": None if sealed is None else sealed.name,
        "tenant": None if sealed is None else sealed.tenant,
        "created_at": info.created_at,
        "bytes_volume": info.bytes_volume,
        "kind": info.kind,
    }


def _changed(names: list[str], verb: str, *, as_json: bool) -> None:
    if as_json:
        print_json(names)
        return
    for name in names:
        say(f"{verb} {name}")
    if not names:
        say(Message("nothing to do"))
