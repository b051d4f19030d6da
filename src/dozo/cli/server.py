"""`dozo server …`: servers of the hypervisor, and servers made of snapshots."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

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
from dozo.cli.times import instant_of
from dozo.model.states import Identity, Tracking

if TYPE_CHECKING:
    from dozo.hypervisor import Network as HypervisorNetwork
    from dozo.services.restore_server import ServerPlan

app = typer.Typer(help="Servers.", no_args_is_help=True)

ServerArgument = Annotated[str, typer.Argument(help="Name, id, or the beginning of an id.")]


class Network(StrEnum):
    """Where a restored server's network cards are plugged in (the hypervisor's own words)."""

    SAME = "same"
    ISOLATED = "isolated"
    NONE = "none"


def network_of(chosen: Network) -> "HypervisorNetwork":
    """The hypervisor's value for it; loading that module at start would make help slow."""
    from dozo.hypervisor import Network as HypervisorNetwork

    return HypervisorNetwork(chosen.value)


@app.command("list")
def list_(
    context: typer.Context,
    gone: Annotated[bool, typer.Option("--gone", help="Also those known from snapshots.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the servers of this site."""
    from dozo.services import inventory, views

    with site_of(context) as site:
        inventory.sync(site)
        rows = views.list_servers(site, gone=gone)
    if as_json:
        print_json(rows)
        return
    print_table(
        ["server", "state", "volumes", "newest recovery point", "tracking", "id"],
        [
            [
                row.name,
                row.state,
                str(len(row.volumes)),
                when(row.newest_recovery_point_at),
                row.tracking,
                row.server,
            ]
            for row in rows
        ],
        empty="no servers",
    )


@app.command()
def show(context: typer.Context, server: ServerArgument, as_json: AsJson = False) -> None:
    """Show a server and its volumes."""
    from dozo.services import inventory, views

    with site_of(context) as site:
        inventory.sync(site)
        row = views.server_view(site.catalog.server(server))
    if as_json:
        print_json(row)
        return
    print_facts(
        {
            "server": row.name,
            "id": row.server,
            "state": row.state,
            "tracking": row.tracking,
            "newest recovery point": when(row.newest_recovery_point_at),
        }
    )
    print_table(
        ["volume", "device", "kind", "size", "format", "newest snapshot", "id"],
        [
            [
                one.name,
                one.device,
                "root" if one.root else "data",
                size(one.bytes_volume),
                one.format,
                when(one.newest_snapshot_at),
                one.volume,
            ]
            for one in row.volumes
        ],
        empty="no volumes",
    )


@app.command()
def create(
    context: typer.Context,
    template: Annotated[str, typer.Option(help="The template to make it of.")],
    name: Annotated[str, typer.Option(help="The new server's name.")],
    network: Annotated[Network, typer.Option(help="Where its network goes.")] = Network.SAME,
    start: Annotated[bool, typer.Option("--start", help="Start it at the end.")] = False,
    accept_plaintext: AcceptPlaintext = False,
    as_json: AsJson = False,
) -> None:
    """Make a new server from a template; it stays stopped unless --start is given."""
    from dozo.services import restore_server

    with site_of(context, changes=True) as site, progress(as_json=as_json) as work:
        plan = restore_server.plan_from_template(
            site, template, name=name, network=network_of(network), start=start
        )
        made = restore_server.apply(site, plan, accept_plaintext=accept_plaintext, work=work)
    if as_json:
        print_json(made)
        return
    _say_made(made.name, made.server, started=made.started)


@app.command()
def restore(
    context: typer.Context,
    recovery_point: Annotated[
        str | None, typer.Argument(help="The recovery point; or use --server with --at.")
    ] = None,
    server: Annotated[str | None, typer.Option(help="The server whose snapshots to use.")] = None,
    at: Annotated[
        str | None, typer.Option(help="Each volume's newest snapshot at or before this time.")
    ] = None,
    snapshot: Annotated[
        list[str] | None, typer.Option(help="A snapshot for one volume; may be repeated.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The restored server's name.")] = None,
    identity: Annotated[
        Identity | None, typer.Option(help="The same server, or a new one.")
    ] = None,
    network: Annotated[Network, typer.Option(help="Where its network goes.")] = Network.SAME,
    start: Annotated[bool, typer.Option("--start", help="Start it at the end.")] = False,
    accept_plaintext: AcceptPlaintext = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan only.")] = False,
    as_json: AsJson = False,
) -> None:
    """Restore a whole server: its definition, all volumes, attached as they were."""
    from dozo.services import restore_server

    with site_of(context, changes=not dry_run) as site, progress(as_json=as_json) as work:
        plan = restore_server.plan(
            site,
            recovery_point=recovery_point,
            server=server,
            at=instant_of(at) if at else None,
            snapshots=tuple(snapshot or ()),
            name=name,
            identity=identity,
            network=network_of(network),
            start=start,
        )
        if not as_json:
            _say_plan(plan)
        if dry_run:
            if as_json:
                print_json(plan.shown())
            return
        made = restore_server.apply(site, plan, accept_plaintext=accept_plaintext, work=work)
    if as_json:
        print_json(made)
        return
    _say_made(made.name, made.server, started=made.started)


@app.command()
def start(
    context: typer.Context,
    server: ServerArgument,
    fail_snapshot: Annotated[
        bool,
        typer.Option("--fail-snapshot", help="Start even if an offline snapshot is under way."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start a server; refused while a snapshot or a restore needs it stopped."""
    from dozo.services import power

    with site_of(context, changes=True) as site:
        done = power.start(site, server, fail_snapshot=fail_snapshot)
    finish(done, f"server {done.name} is {done.state}", as_json=as_json)


@app.command()
def stop(
    context: typer.Context,
    server: ServerArgument,
    timeout: Annotated[float, typer.Option(help="Seconds that the guest may take.")] = 120,
    force: Annotated[bool, typer.Option("--force", help="Cut the power after that.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask a server to shut down, and wait for it."""
    from dozo.services import power

    with site_of(context, changes=True) as site:
        done = power.stop(site, server, timeout_seconds=timeout, force=force)
    finish(done, f"server {done.name} is {done.state}", as_json=as_json)


@app.command()
def track(
    context: typer.Context,
    server: ServerArgument,
    setting: Annotated[Tracking, typer.Argument(help="Whether checkpoints may be kept.")],
    as_json: AsJson = False,
) -> None:
    """Say whether Dozo may track changes of this server's volumes (checkpoints)."""
    from dozo.services import tracking

    with site_of(context, changes=True) as site:
        done = tracking.set_tracking(site, server, setting)
    finish(done, f"tracking of server {done.name} is {done.tracking}", as_json=as_json)


@app.command()
def untrack(context: typer.Context, server: ServerArgument, as_json: AsJson = False) -> None:
    """Remove every trace of change tracking from a server's volumes."""
    from dozo.services import tracking

    with site_of(context, changes=True) as site:
        done = tracking.untrack(site, server)
    finish(
        done,
        f"server {done.name}: {len(done.checkpoints)} checkpoints and"
        f" {len(done.bitmaps)} bitmaps removed",
        as_json=as_json,
    )


@app.command()
def delete(
    context: typer.Context,
    server: ServerArgument,
    volumes: Annotated[
        bool, typer.Option("--volumes", help="Delete the images of its volumes as well.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="It is meant.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a stopped server; its snapshots stay, its volumes too unless --volumes is given."""
    from dozo.services import power
    from dozo.services.errors import Unconfirmed

    if not yes:
        raise Unconfirmed(f"deleting server {server}")
    with site_of(context, changes=True) as site:
        done = power.delete(site, server, volumes_too=volumes)
    finish(done, f"server {done.name} is deleted", as_json=as_json)


def _say_made(name: str, uuid: str, *, started: bool) -> None:
    say(f"server {name} ({uuid}) is {'started' if started else 'ready, stopped'}")


def _say_plan(plan: "ServerPlan") -> None:
    say(f"server {plan.name}, identity: {plan.identity.value}")
    print_table(
        ["device", "snapshot", "taken", "size", "image"],
        [
            [one.device, one.snapshot_name, when(one.created_at), size(one.bytes_volume), one.path]
            for one in plan.volumes
        ],
        empty="no volumes",
    )
    if plan.gap_seconds:
        say(f"The snapshots are {_span(plan.gap_seconds)} apart.")
    for one in plan.volumes:
        if one.warning:
            say(f"{one.device}: {one.warning}.")


def _span(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} seconds"
