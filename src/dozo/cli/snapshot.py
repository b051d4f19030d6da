"""`dozo snapshot …`: one volume at one instant."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dozo.cli.opened import site_of
from dozo.cli.output import (
    AsJson,
    finish,
    note_facts,
    print_facts,
    print_json,
    print_table,
    progress,
    say,
    short,
    size,
    when,
)
from dozo.cli.protecting import Freeze, Full, Mode, Name, StatedUnmounted, show_made
from dozo.cli.volume import ImageFormat

if TYPE_CHECKING:
    from dozo.services.replicate import Copied
    from dozo.services.snapshots import Verified

app = typer.Typer(help="Snapshots of single volumes.", no_args_is_help=True)

SnapshotArgument = Annotated[str, typer.Argument(help="Name, id, or the beginning of an id.")]
SnapshotArguments = Annotated[list[str], typer.Argument(help="Names, ids, beginnings of ids.")]


@app.command()
def create(
    context: typer.Context,
    volume: Annotated[str, typer.Argument(help="Name, SERVER/DEVICE, or id.")],
    name: Name = None,
    mode: Mode = None,
    stated_unmounted: StatedUnmounted = False,
    freeze: Freeze = True,
    full: Full = False,
    as_json: AsJson = False,
) -> None:
    """Snapshot one volume."""
    from dozo.services import protect

    with site_of(context, changes=True) as site, progress(as_json=as_json) as work:
        plan = protect.plan_volume(
            site,
            volume,
            name=name,
            mode=mode,
            stated_unmounted=stated_unmounted,
            freeze=freeze,
            full=full,
        )
        made = protect.apply(site, plan, work=work)
    if as_json:
        print_json(made.snapshots[0])
        return
    show_made(made)


@app.command("list")
def list_(
    context: typer.Context,
    server: Annotated[str | None, typer.Option(help="Only this server's.")] = None,
    volume: Annotated[str | None, typer.Option(help="Only this volume's.")] = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="Deleted ones too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List snapshots, newest first."""
    from dozo.services import views

    with site_of(context) as site:
        rows = views.list_snapshots(site, server=server, volume=volume, deleted=deleted)
    if as_json:
        print_json(rows)
        return
    print_table(
        ["snapshot", "name", "server", "device", "taken", "size", "consistency", "copies"],
        [
            [
                short(row.snapshot) + (" (deleted)" if row.deleted_at else ""),
                row.name,
                row.server or "-",
                row.device or "-",
                when(row.created_at),
                size(row.bytes_volume),
                row.consistency or "-",
                ", ".join(f"{site}: {state}" for site, state in row.copies.items()) or "-",
            ]
            for row in rows
        ],
        empty="no snapshots",
    )


@app.command()
def show(context: typer.Context, snapshot: SnapshotArgument, as_json: AsJson = False) -> None:
    """Show a snapshot."""
    from dozo.services import snapshots, views

    with site_of(context) as site:
        row = site.catalog.snapshot(snapshot)
        view = views.snapshot_views(site, [row])[0]
        holds = snapshots.holds(site, row)
    if as_json:
        from dozo.cli.output import plain

        print_json({**plain(view), "holds": plain(holds)})
        return
    print_facts(
        {
            "snapshot": view.snapshot,
            "name": view.name,
            "taken": when(view.created_at),
            "size": size(view.bytes_volume),
            "server": view.server or "-",
            "volume": f"{view.volume or '-'} ({view.device or '-'})",
            "mode": view.mode or "-",
            "consistency": view.consistency or "-",
            "frozen for": f"{view.freeze_ms} ms" if view.freeze_ms is not None else "-",
            **note_facts(view.notes),
            "read in full": view.full_reason_words or "no",
            "read, stored": f"{size(view.bytes_read)}, {size(view.bytes_stored)}",
            "recovery point": view.recovery_point or "-",
            "origin": view.origin,
            "copies": ", ".join(f"{at}: {state}" for at, state in view.copies.items()) or "-",
            "held until": ", ".join(when(one.until) for one in holds) or "-",
            "deleted": when(view.deleted_at),
        }
    )


@app.command()
def verify(
    context: typer.Context,
    snapshot: SnapshotArguments,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what it shares with older snapshots.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read snapshots back from this site's vault: decrypt and re-hash every byte."""
    from dozo.services import snapshots

    with site_of(context, changes=True) as site, progress(as_json=as_json) as work:
        rows = [site.catalog.snapshot(one) for one in snapshot]
        done = snapshots.verify(site, rows, everything=everything, work=work)
    show_verified(done, as_json=as_json)


def show_verified(rows: "list[Verified]", *, as_json: bool) -> None:
    """Print what reading back found; exit 5 where there is damage."""
    if as_json:
        print_json(rows)
    else:
        print_table(
            ["snapshot", "name", "state", "verified"],
            [
                [
                    short(one.snapshot),
                    one.name,
                    one.state,
                    when(one.verified_at),
                ]
                for one in rows
            ],
            empty="nothing to verify",
        )
        for one in rows:
            for damage in one.damage:
                say(f"{one.name}: {damage}")
    if any(one.damage for one in rows):
        raise typer.Exit(5)


@app.command()
def copy(
    context: typer.Context,
    snapshot: Annotated[
        list[str] | None, typer.Argument(help="Snapshots; all of them unless given.")
    ] = None,
    to: Annotated[str, typer.Option("--to", help="The peer to copy to.")] = "",
    as_json: AsJson = False,
) -> None:
    """Copy snapshots to a peer; only what it lacks is sent."""
    from dozo.services import replicate

    with site_of(context, changes=True) as site, progress(as_json=as_json) as work:
        ids = [site.catalog.snapshot(one).snapshot_id for one in snapshot] if snapshot else None
        done = replicate.copy(site, replicate.peer_or_only(site, to), ids, work=work)
    show_copied(done, as_json=as_json)


def show_copied(done: "Copied", *, as_json: bool) -> None:
    """Print what a copy moved."""
    if as_json:
        print_json(done)
    else:
        say(
            f"{len(done.snapshots)} snapshots copied to {done.target}"
            f" ({len(done.already_there)} were there already);"
            f" {size(done.bytes_copied)} sent in {done.seconds:.1f} s"
        )
        for snapshot, reason in done.skipped.items():
            say(f"{short(snapshot)} was not copied: {reason}")


@app.command()
def delete(context: typer.Context, snapshot: SnapshotArguments, as_json: AsJson = False) -> None:
    """Delete snapshots; until they are pruned, `undelete` brings them back."""
    from dozo.services import snapshots

    with site_of(context, changes=True) as site:
        ids = [site.catalog.snapshot(one).snapshot_id for one in snapshot]
        snapshots.delete(site, ids)
    finish({"deleted": ids}, f"{len(ids)} snapshots deleted", as_json=as_json)


@app.command()
def undelete(context: typer.Context, snapshot: SnapshotArguments, as_json: AsJson = False) -> None:
    """Bring deleted snapshots back."""
    from dozo.services import snapshots

    with site_of(context, changes=True) as site:
        ids = [site.catalog.snapshot(one).snapshot_id for one in snapshot]
        snapshots.undelete(site, ids)
    finish({"undeleted": ids}, f"{len(ids)} snapshots are back", as_json=as_json)


@app.command()
def restore(
    context: typer.Context,
    snapshot: SnapshotArgument,
    out: Annotated[Path, typer.Argument(help="The file to write.")],
    format: Annotated[ImageFormat, typer.Option(help="The file's format.")] = ImageFormat.RAW,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a snapshot to an image file."""
    from dozo.services import snapshots

    with site_of(context, changes=True) as site, progress(as_json=as_json) as work:
        row = site.catalog.snapshot(snapshot)
        done = snapshots.to_file(
            site, row.snapshot_id, out, format=format.value, force=force, work=work
        )
    finish(
        done,
        f"{done.path}: {size(done.bytes_volume)}, {size(done.bytes_written)} written"
        f" in {done.seconds:.1f} s",
        as_json=as_json,
    )
