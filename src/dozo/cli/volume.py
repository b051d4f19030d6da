"""`dozo volume …`: virtual disks, attached or not."""

from enum import StrEnum
from typing import Annotated

import typer

from dozo.cli.opened import site_of
from dozo.cli.output import (
    AcceptPlaintext,
    AsJson,
    finish,
    print_facts,
    print_json,
    print_table,
    progress,
    say,
    size,
    when,
)

app = typer.Typer(help="Volumes.", no_args_is_help=True)

VolumeArgument = Annotated[
    str, typer.Argument(help="Name, SERVER/DEVICE, id, or the beginning of an id.")
]


class ImageFormat(StrEnum):
    """Formats that Dozo writes."""

    QCOW2 = "qcow2"
    RAW = "raw"


@app.command("list")
def list_(
    context: typer.Context,
    gone: Annotated[bool, typer.Option("--gone", help="Also those known from snapshots.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the volumes of this site."""
    from dozo.services import inventory, views

    with site_of(context) as site:
        inventory.sync(site)
        rows = views.list_volumes(site, gone=gone)
    if as_json:
        print_json(rows)
        return
    print_table(
        ["volume", "server", "device", "kind", "size", "state", "newest snapshot", "id"],
        [
            [
                row.name,
                row.server or "-",
                row.device or "-",
                "root" if row.root else "data",
                size(row.bytes_volume),
                f"restoring ({row.state})" if row.restoring else row.state,
                when(row.newest_snapshot_at),
                row.volume,
            ]
            for row in rows
        ],
        empty="no volumes",
    )


@app.command()
def show(context: typer.Context, volume: VolumeArgument, as_json: AsJson = False) -> None:
    """Show a volume."""
    from dozo.services import inventory, views

    with site_of(context) as site:
        inventory.sync(site)
        row = views.volume_view(site.catalog.volume(volume))
    if as_json:
        print_json(row)
        return
    print_facts(
        {
            "volume": row.name,
            "id": row.volume,
            "state": row.state,
            "server": row.server or "-",
            "device": f"{row.device or '-'} ({row.bus or '-'}, serial {row.serial or '-'})",
            "kind": "root" if row.root else "data",
            "size": size(row.bytes_volume),
            "image": f"{row.path or '-'} ({row.format or '-'})",
            "made of": row.origin_snapshot or "-",
            "snapshots": f"{row.snapshots}, newest {when(row.newest_snapshot_at)}",
        }
    )
    if row.restoring:
        say(f"It is being restored to snapshot {row.restoring} and not complete.")


@app.command()
def create(
    context: typer.Context,
    snapshot: Annotated[str, typer.Option(help="The snapshot whose bytes it gets.")],
    name: Annotated[str, typer.Option(help="The new volume's name.")],
    format: Annotated[ImageFormat, typer.Option(help="The image's format.")] = ImageFormat.QCOW2,
    accept_plaintext: AcceptPlaintext = False,
    as_json: AsJson = False,
) -> None:
    """Make a new volume from a snapshot; it is attached to nothing at first."""
    from dozo.services import restore_volume

    with site_of(context, changes=True) as site, progress(as_json=as_json) as work:
        plan = restore_volume.plan(site, snapshot, name=name, format=format.value)
        if plan.warning and not as_json:
            say(f"{plan.snapshot_name}: {plan.warning}.")
        made = restore_volume.apply(site, plan, accept_plaintext=accept_plaintext, work=work)
    if as_json:
        print_json(made)
        return
    say(f"volume {made.name} ({made.volume}) is at {made.path}, {size(made.bytes_volume)}")
    say(f"Attach it with: dozo volume attach {made.name} SERVER")


@app.command()
def attach(
    context: typer.Context,
    volume: VolumeArgument,
    server: Annotated[str, typer.Argument(help="The server.")],
    device: Annotated[str | None, typer.Option(help="Such as vdb; what it had, else free.")] = None,
    bus: Annotated[str | None, typer.Option(help="Such as virtio; what it had.")] = None,
    serial: Annotated[str | None, typer.Option(help="What it had.")] = None,
    as_json: AsJson = False,
) -> None:
    """Attach a volume to a server, stopped or running."""
    from dozo.services import attaching

    with site_of(context, changes=True) as site:
        plan = attaching.plan_attach(site, volume, server, device=device, bus=bus, serial=serial)
        done = attaching.attach(site, plan)
    finish(done, f"volume {done.volume} is {done.server}'s {done.device}", as_json=as_json)


@app.command()
def detach(
    context: typer.Context,
    volume: VolumeArgument,
    server: Annotated[str, typer.Argument(help="The server.")],
    as_json: AsJson = False,
) -> None:
    """Detach a volume from a server; unmount it in the guest before."""
    from dozo.services import attaching

    with site_of(context, changes=True) as site:
        done = attaching.detach(site, volume, server)
    finish(done, f"volume {done.volume} is detached from {done.server}", as_json=as_json)


@app.command()
def restore(
    context: typer.Context,
    volume: VolumeArgument,
    snapshot: Annotated[str | None, typer.Argument(help="The snapshot to go back to.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Finish a restore that was interrupted.")
    ] = False,
    go_back: Annotated[
        bool, typer.Option("--go-back", help="Take back what was there before the restore.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put a stopped server's volume back to a snapshot, in place.

    What is there now is kept in a safety snapshot first; only what differs is written.
    """
    from dozo.services import restore_in_place

    if (snapshot is None) == (not resume and not go_back) or (resume and go_back):
        raise typer.BadParameter("give exactly one of SNAPSHOT, --resume and --go-back")
    with site_of(context, changes=True) as site, progress(as_json=as_json) as work:
        if snapshot is not None:
            plan = restore_in_place.plan(site, volume, snapshot)
        elif resume:
            plan = restore_in_place.plan_resume(site, volume)
        else:
            plan = restore_in_place.plan_go_back(site, volume)
        done = restore_in_place.apply(site, plan, work=work)
    if as_json:
        print_json(done)
        return
    say(f"volume {done.volume} is at snapshot {done.snapshot} again; {size(done.bytes_written)}")
    if done.safety_snapshot:
        say(f"What was there before is kept as snapshot {done.safety_snapshot}.")


@app.command()
def delete(
    context: typer.Context,
    volume: VolumeArgument,
    yes: Annotated[bool, typer.Option("--yes", help="It is meant.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a volume that Dozo made and that is attached to nothing; its snapshots stay."""
    from dozo.services import attaching
    from dozo.services.errors import Unconfirmed

    if not yes:
        raise Unconfirmed(f"deleting volume {volume}")
    with site_of(context, changes=True) as site:
        done = attaching.delete_volume(site, volume)
    finish(done, f"volume {done.name} is deleted", as_json=as_json)
