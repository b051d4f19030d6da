"""`dozo recovery-point …`: all volumes of a server at one instant."""

from typing import Annotated

import typer

from dozo.cli.opened import site_of
from dozo.cli.output import (
    AsJson,
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
from dozo.cli.snapshot import show_copied, show_verified

app = typer.Typer(help="Recovery points: a server's volumes at one instant.", no_args_is_help=True)

PointArgument = Annotated[str, typer.Argument(help="Name, id, or the beginning of an id.")]


@app.command()
def create(
    context: typer.Context,
    server: Annotated[str, typer.Argument(help="The server.")],
    name: Name = None,
    mode: Mode = None,
    volume: Annotated[
        list[str] | None,
        typer.Option(help="Only this volume (name, device or id); may be repeated."),
    ] = None,
    stated_unmounted: StatedUnmounted = False,
    freeze: Freeze = True,
    full: Full = False,
    as_json: AsJson = False,
) -> None:
    """Snapshot all volumes of a server at one instant, with the server's state."""
    from dozo.services import protect

    with site_of(context, changes=True) as site, progress(as_json=as_json) as work:
        plan = protect.plan_server(
            site,
            server,
            name=name,
            mode=mode,
            volumes=tuple(volume or ()),
            stated_unmounted=stated_unmounted,
            freeze=freeze,
            full=full,
        )
        made = protect.apply(site, plan, work=work)
    if as_json:
        print_json(made)
        return
    show_made(made)


@app.command("list")
def list_(
    context: typer.Context,
    server: Annotated[str | None, typer.Option(help="Only this server's.")] = None,
    as_json: AsJson = False,
) -> None:
    """List recovery points, newest first."""
    from dozo.services import views

    with site_of(context) as site:
        rows = views.list_recovery_points(site, server=server)
    if as_json:
        print_json(rows)
        return
    print_table(
        ["recovery point", "name", "server", "taken", "volumes", "complete", "copies"],
        [
            [
                short(row.recovery_point),
                row.name,
                row.server,
                when(row.created_at),
                str(len(row.snapshots)),
                "yes" if row.complete else f"no: {', '.join(row.missing)} missing",
                ", ".join(f"{site}: {state}" for site, state in row.copies.items()) or "-",
            ]
            for row in rows
        ],
        empty="no recovery points",
    )


@app.command()
def show(context: typer.Context, point: PointArgument, as_json: AsJson = False) -> None:
    """Show a recovery point and its snapshots."""
    from dozo.services import views

    with site_of(context) as site:
        row = views.recovery_point_view(site, site.catalog.recovery_point(point))
    if as_json:
        print_json(row)
        return
    print_facts(
        {
            "recovery point": row.recovery_point,
            "name": row.name,
            "server": f"{row.server} ({row.server_uuid})",
            "taken": when(row.created_at),
            "complete": "yes" if row.complete else f"no: {', '.join(row.missing)} missing",
            "left out": ", ".join(f"{one['device']} ({one['reason']})" for one in row.left_out)
            or "nothing",
            **note_facts(row.notes),
        }
    )
    print_table(
        ["snapshot", "device", "size", "mode", "consistency", "copies"],
        [
            [
                short(one.snapshot),
                one.device,
                size(one.bytes_volume),
                one.mode,
                one.consistency,
                ", ".join(f"{site}: {state}" for site, state in one.copies.items()) or "-",
            ]
            for one in row.snapshots
        ],
        empty="none of its snapshots is here",
    )


@app.command()
def verify(
    context: typer.Context,
    point: PointArgument,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what it shares with older snapshots.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read a recovery point's snapshots back from this site's vault."""
    from dozo.services import snapshots

    with site_of(context, changes=True) as site, progress(as_json=as_json) as work:
        rows = site.catalog.recovery_point(point).snapshots.filter(deleted_at=None)
        done = snapshots.verify(site, list(rows), everything=everything, work=work)
    show_verified(done, as_json=as_json)


@app.command()
def copy(
    context: typer.Context,
    point: PointArgument,
    to: Annotated[str, typer.Option("--to", help="The peer to copy to.")] = "",
    as_json: AsJson = False,
) -> None:
    """Copy a recovery point's snapshots to a peer; only what it lacks is sent."""
    from dozo.services import replicate

    with site_of(context, changes=True) as site, progress(as_json=as_json) as work:
        rows = site.catalog.recovery_point(point).snapshots.filter(deleted_at=None)
        ids = [row.snapshot_id for row in rows]
        done = replicate.copy(site, replicate.peer_or_only(site, to), ids, work=work)
    show_copied(done, as_json=as_json)


@app.command()
def delete(context: typer.Context, point: PointArgument, as_json: AsJson = False) -> None:
    """Delete a recovery point's snapshots; `snapshot undelete` brings them back."""
    from dozo.services import snapshots

    with site_of(context, changes=True) as site:
        row = site.catalog.recovery_point(point)
        ids = [one.snapshot_id for one in row.snapshots.filter(deleted_at=None)]
        snapshots.delete(site, ids)
    if as_json:
        print_json({"recovery_point": row.recovery_point_id, "deleted": ids})
    else:
        say(f"recovery point {row.name}: {len(ids)} snapshots deleted")
