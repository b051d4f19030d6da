"""`dozo snapshot …`: one volume at one instant."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dozo.cli import following
from dozo.cli.client import at, client_of
from dozo.cli.confirming import confirmed_count
from dozo.cli.following import NoWait
from dozo.cli.output import (
    AsJson,
    copies,
    finish,
    listed,
    note_facts,
    print_facts,
    print_json,
    print_table,
    say,
    short,
    size,
    when,
)
from dozo.cli.protecting import (
    ForceStop,
    Freeze,
    Full,
    HookAfter,
    HookBefore,
    ModeOption,
    Name,
    StatedUnmounted,
    StopTimeout,
    capture_body,
    show_made,
)
from dozo.cli.speech import shown
from dozo.cli.volume import ImageFormat
from dozo.model.message import Message, counted

app = typer.Typer(help="Snapshots of single volumes.", no_args_is_help=True)

SnapshotArgument = Annotated[str, typer.Argument(help="Name, id, or the beginning of an id.")]
SnapshotArguments = Annotated[list[str], typer.Argument(help="Names, ids, beginnings of ids.")]


@app.command()
def create(
    context: typer.Context,
    volume: Annotated[str, typer.Argument(help="Name, SERVER/DEVICE, or id.")],
    name: Name = None,
    mode: ModeOption = None,
    stated_unmounted: StatedUnmounted = False,
    freeze: Freeze = True,
    full: Full = False,
    stop_timeout: StopTimeout = None,
    force_stop: ForceStop = False,
    hook_before: HookBefore = None,
    hook_after: HookAfter = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Snapshot one volume."""
    body = {
        "volume": volume,
        **capture_body(
            name=name,
            mode=mode,
            stated_unmounted=stated_unmounted,
            freeze=freeze,
            full=full,
            stop_timeout=stop_timeout,
            force_stop=force_stop,
            hook_before=hook_before,
            hook_after=hook_after,
        ),
    }
    made = following.run(context, "/snapshots", body, as_json=as_json, no_wait=no_wait)
    if as_json:
        print_json(made["snapshots"][0])
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
    with client_of(context) as client:
        rows = client.everything(
            "/snapshots", server=server, volume=volume, deleted=deleted or None
        )
    if as_json:
        print_json(rows)
        return
    print_table(
        ["snapshot", "name", "server", "device", "taken", "size", "consistency", "copies"],
        [
            [
                short(row["snapshot"]) + (" (deleted)" if row["deleted_at"] else ""),
                row["name"],
                row["server"] or "-",
                row["device"] or "-",
                when(row["created_at"]),
                size(row["bytes_volume"]),
                shown("consistency", row["consistency"] or "-"),
                copies(row["copies"]),
            ]
            for row in rows
        ],
        empty=Message("no snapshots"),
    )


@app.command()
def show(context: typer.Context, snapshot: SnapshotArgument, as_json: AsJson = False) -> None:
    """Show a snapshot."""
    with client_of(context) as client:
        view = client.get(at("snapshots", snapshot))
        if "holds" not in view:
            path = at("snapshots", view["snapshot"], "holds")
            view = {**view, "holds": client.everything(path)}
    if as_json:
        print_json(view)
        return
    print_facts(
        {
            "snapshot": view["snapshot"],
            "name": view["name"],
            "taken": when(view["created_at"]),
            "size": size(view["bytes_volume"]),
            "server": view["server"] or "-",
            "volume": f"{view['volume'] or '-'} ({view['device'] or '-'})",
            "mode": shown("mode", view["mode"] or "-"),
            "consistency": shown("consistency", view["consistency"] or "-"),
            "frozen for": Message("{freeze_ms} ms", freeze_ms=view["freeze_ms"])
            if view["freeze_ms"] is not None
            else "-",
            **note_facts(view["notes"]),
            "read in full": view["full_reason_words"] or Message("no"),
            "read, stored": f"{size(view['bytes_read'])}, {size(view['bytes_stored'])}",
            "recovery point": view["recovery_point"] or "-",
            "origin": view["origin"],
            "copies": copies(view["copies"]),
            "held until": listed(when(one["until"]) for one in view["holds"]),
            "deleted": when(view["deleted_at"]),
        }
    )


@app.command()
def verify(
    context: typer.Context,
    snapshot: SnapshotArguments,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what it shares with older snapshots.")
    ] = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Read snapshots back from this site's vault: decrypt and re-hash every byte."""
    body = {"snapshots": snapshot, "everything": everything}
    done = following.run(context, "/snapshots/verify", body, as_json=as_json, no_wait=no_wait)
    show_verified(done["verified"], as_json=as_json)


def show_verified(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print what reading back found; damage is an error of its own."""
    if as_json:
        print_json(rows)
        return
    print_table(
        ["snapshot", "name", "state", "verified"],
        [
            [
                short(one["snapshot"]),
                one["name"],
                shown("copy", one["state"]),
                when(one["verified_at"]),
            ]
            for one in rows
        ],
        empty=Message("nothing to verify"),
    )


@app.command()
def copy(
    context: typer.Context,
    snapshot: Annotated[
        list[str] | None, typer.Argument(help="Snapshots; all of them unless given.")
    ] = None,
    to: Annotated[str, typer.Option("--to", help="The peer to copy to.")] = "",
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Copy snapshots to a peer; only what it lacks is sent."""
    body = {"peer": to, "snapshots": snapshot or None}
    done = following.run(context, "/snapshots/copy", body, as_json=as_json, no_wait=no_wait)
    show_copied(done, as_json=as_json)


def show_copied(done: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what a copy moved."""
    if as_json:
        print_json(done)
        return
    say(
        counted(
            len(done["snapshots"]),
            "{count} snapshot copied to {target} ({there} there already);"
            " {size} sent in {seconds:.1f} s",
            "{count} snapshots copied to {target} ({there} there already);"
            " {size} sent in {seconds:.1f} s",
            target=done["target"],
            there=len(done["already_there"]),
            size=size(done["bytes_copied"]),
            seconds=done["seconds"],
        )
    )
    for snapshot, reason in done["skipped"].items():
        say(Message("{snapshot} was not copied: {reason}", snapshot=short(snapshot), reason=reason))


@app.command()
def delete(
    context: typer.Context,
    snapshot: SnapshotArguments,
    yes: Annotated[bool, typer.Option("--yes", help="All of them are meant.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete snapshots; until they are pruned, `undelete` brings them back."""
    with client_of(context) as client:
        ids = list(dict.fromkeys(client.get(at("snapshots", one))["snapshot"] for one in snapshot))
        count = confirmed_count(len(ids), Message("snapshots"), yes=yes)
        client.post("/snapshots/delete", {"snapshots": ids, "confirm_count": count})
    line = counted(len(ids), "{count} snapshot deleted", "{count} snapshots deleted")
    finish({"deleted": ids}, line, as_json=as_json)


@app.command()
def undelete(context: typer.Context, snapshot: SnapshotArguments, as_json: AsJson = False) -> None:
    """Bring deleted snapshots back."""
    with client_of(context) as client:
        ids = client.post("/snapshots/undelete", {"snapshots": snapshot})["done"]
    line = counted(len(ids), "{count} snapshot brought back", "{count} snapshots brought back")
    finish({"undeleted": ids}, line, as_json=as_json)


@app.command()
def restore(
    context: typer.Context,
    snapshot: SnapshotArgument,
    out: Annotated[Path, typer.Argument(help="The file to write, here.")],
    format: Annotated[ImageFormat, typer.Option(help="The file's format.")] = ImageFormat.RAW,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a snapshot to an image file here; on the site's host without the service too."""
    from dozo.cli.opened import chosen

    done: Any
    if chosen(context).profile is not None:
        from dozo.cli.downloading import download

        done = download(context, snapshot, out, format=format.value, force=force, as_json=as_json)
    else:
        done = _written_on_host(context, snapshot, out, format.value, force=force, as_json=as_json)
    finish(
        done,
        Message(
            "{path}: {size}, {written} written in {seconds:.1f} s",
            path=done.path,
            size=size(done.bytes_volume),
            written=size(done.bytes_written),
            seconds=done.seconds,
        ),
        as_json=as_json,
    )


def _written_on_host(
    context: typer.Context, reference: str, out: Path, format: str, *, force: bool, as_json: bool
) -> Any:
    """The last way to get data back needs neither service nor network."""
    from dozo.cli.opened import site_of
    from dozo.cli.output import progress
    from dozo.services import snapshots

    with site_of(context) as site, progress(as_json=as_json) as work:
        row = site.catalog.snapshot(reference)
        return snapshots.to_file(site, row.snapshot_id, out, format=format, force=force, work=work)
