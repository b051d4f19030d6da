"""`dozo server …`: servers of the hypervisor, and servers made of snapshots."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from dozo.cli import following
from dozo.cli.client import at, client_of
from dozo.cli.confirming import confirmed
from dozo.cli.following import NoWait
from dozo.cli.output import (
    AcceptPlaintext,
    AsJson,
    finish,
    listed,
    print_facts,
    print_json,
    print_table,
    say,
    size,
    span,
    when,
)
from dozo.cli.speech import shown
from dozo.cli.times import text_of
from dozo.model.message import Message, counted
from dozo.model.states import Identity, Tracking

app = typer.Typer(help="Servers.", no_args_is_help=True)

ServerArgument = Annotated[str, typer.Argument(help="Name, id, or the beginning of an id.")]


class Network(StrEnum):
    """Where a restored server's network cards are plugged in (the hypervisor's own words)."""

    SAME = "same"
    ISOLATED = "isolated"
    NONE = "none"


@app.command("list")
def list_(
    context: typer.Context,
    gone: Annotated[bool, typer.Option("--gone", help="Also those known from snapshots.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the servers of this site."""
    with client_of(context) as client:
        rows = client.everything("/servers", gone=gone or None)
    if as_json:
        print_json(rows)
        return
    print_table(
        ["server", "state", "volumes", "newest recovery point", "tracking", "id"],
        [
            [
                row["name"],
                shown("server", row["state"]),
                str(len(row["volumes"])),
                when(row["newest_recovery_point_at"]),
                shown("tracking", row["tracking"]),
                row["server"],
            ]
            for row in rows
        ],
        empty=Message("no servers"),
    )


@app.command()
def show(context: typer.Context, server: ServerArgument, as_json: AsJson = False) -> None:
    """Show a server and its volumes."""
    with client_of(context) as client:
        row = client.get(at("servers", server))
    if as_json:
        print_json(row)
        return
    print_facts(
        {
            "server": row["name"],
            "id": row["server"],
            "state": shown("server", row["state"]),
            "tenant": row["tenant"],
            "tracking": shown("tracking", row["tracking"]),
            "newest recovery point": when(row["newest_recovery_point_at"]),
        }
    )
    print_table(
        ["volume", "device", "kind", "size", "format", "newest snapshot", "id"],
        [
            [
                one["name"],
                one["device"],
                shown("volume-role", "root" if one["root"] else "data"),
                size(one["bytes_volume"]),
                one["format"],
                when(one["newest_snapshot_at"]),
                one["volume"],
            ]
            for one in row["volumes"]
        ],
        empty=Message("no volumes"),
    )


@app.command()
def protection(context: typer.Context, server: ServerArgument, as_json: AsJson = False) -> None:
    """Show whether a server is protected, and if not, why."""
    with client_of(context) as client:
        row = client.get(at("servers", server, "protection"))
    if as_json:
        print_json(row)
        return
    print_facts(
        {
            "server": row["name"],
            "state": shown("protection", row["state"]),
            "because": row["reason"] or "-",
            "protected as of": when(row["stalest_at"]),
        }
    )
    print_table(
        ["volume", "state", "newest protected snapshot", "because"],
        [
            [
                one["name"],
                shown("protection", one["state"]),
                when(one["protected_at"]),
                one["reason"] or "-",
            ]
            for one in row["volumes"]
        ],
        empty=Message("no volumes"),
    )


@app.command()
def create(
    context: typer.Context,
    template: Annotated[str, typer.Option(help="The template to make it of.")],
    name: Annotated[str, typer.Option(help="The new server's name.")],
    network: Annotated[Network, typer.Option(help="Where its network goes.")] = Network.SAME,
    start: Annotated[bool, typer.Option("--start", help="Start it at the end.")] = False,
    accept_plaintext: AcceptPlaintext = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Make a new server from a template; it stays stopped unless --start is given."""
    body = {
        "template": template,
        "name": name,
        "network": network.value,
        "start": start,
        "accept_plaintext": accept_plaintext,
    }
    made = following.run(context, "/servers", body, as_json=as_json, no_wait=no_wait)
    _show_made(made, as_json=as_json)


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
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Restore a whole server: its definition, all volumes, attached as they were."""
    if sum(bool(one) for one in (recovery_point, server, snapshot)) != 1:
        raise typer.BadParameter(
            Message("give exactly one of RECOVERY_POINT, --server and --snapshot")
        )
    given = {
        "recovery_point": recovery_point,
        "server": server,
        "at": text_of(at) if at else None,
        "snapshots": snapshot or None,
        "name": name,
        "identity": identity.value if identity else None,
    }
    body = {
        "network": network.value,
        "start": start,
        "accept_plaintext": accept_plaintext,
        **{key: value for key, value in given.items() if value is not None},
    }
    path = "/servers/restore"
    if dry_run or not (as_json or no_wait):
        plan = following.plan(context, path, body)
        if not as_json:
            _say_plan(plan)
        elif dry_run:
            print_json(plan)
    if dry_run:
        return
    made = following.run(context, path, body, as_json=as_json, no_wait=no_wait)
    _show_made(made, as_json=as_json)


@app.command()
def start(
    context: typer.Context,
    server: ServerArgument,
    fail_snapshot: Annotated[
        bool,
        typer.Option("--fail-snapshot", help="Start even if an offline snapshot is under way."),
    ] = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Start a server; refused while a snapshot or a restore needs it stopped."""
    path = at("servers", server, "start")
    body = {"fail_snapshot": fail_snapshot}
    done = following.run(context, path, body, as_json=as_json, no_wait=no_wait)
    finish(
        done,
        Message(
            "server {server} is {state}", server=done["name"], state=shown("server", done["state"])
        ),
        as_json=as_json,
    )


@app.command()
def stop(
    context: typer.Context,
    server: ServerArgument,
    timeout: Annotated[int, typer.Option(help="Seconds that the guest may take.", min=0)] = 120,
    force: Annotated[bool, typer.Option("--force", help="Cut the power after that.")] = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Ask a server to shut down, and wait for it."""
    path = at("servers", server, "stop")
    body = {"timeout_seconds": timeout, "force": force}
    done = following.run(context, path, body, as_json=as_json, no_wait=no_wait)
    finish(
        done,
        Message(
            "server {server} is {state}", server=done["name"], state=shown("server", done["state"])
        ),
        as_json=as_json,
    )


@app.command()
def track(
    context: typer.Context,
    server: ServerArgument,
    setting: Annotated[Tracking, typer.Argument(help="Whether checkpoints may be kept.")],
    as_json: AsJson = False,
) -> None:
    """Say whether Dozo may track changes of this server's volumes (checkpoints)."""
    with client_of(context) as client:
        done = client.put(at("servers", server, "tracking"), {"tracking": setting.value})
    finish(
        done,
        Message(
            "tracking of server {server} is {tracking}",
            server=done["name"],
            tracking=shown("tracking", done["tracking"]),
        ),
        as_json=as_json,
    )


@app.command()
def untrack(
    context: typer.Context,
    server: ServerArgument,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Remove every trace of change tracking from a server's volumes."""
    path = at("servers", server, "untrack")
    done = following.run(context, path, as_json=as_json, no_wait=no_wait)
    finish(
        done,
        Message(
            "server {server}: {checkpoints} and {bitmaps} removed",
            server=done["name"],
            checkpoints=counted(
                len(done["checkpoints"]), "{count} checkpoint", "{count} checkpoints"
            ),
            bitmaps=counted(len(done["bitmaps"]), "{count} bitmap", "{count} bitmaps"),
        ),
        as_json=as_json,
    )


@app.command()
def tag(
    context: typer.Context,
    server: ServerArgument,
    tags: Annotated[
        list[str] | None, typer.Argument(metavar="[TAG]...", help="None removes them all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give a server exactly these tags; a schedule can cover all servers with a tag."""
    with client_of(context) as client:
        done = client.put(at("servers", server, "tags"), {"tags": tags or []})
    finish(
        done,
        Message("server {server}: {tags}", server=done["name"], tags=listed(done["tags"])),
        as_json=as_json,
    )


@app.command()
def assign(
    context: typer.Context,
    server: ServerArgument,
    tenant: Annotated[str, typer.Argument(help="Whose it is from now on.")],
    as_json: AsJson = False,
) -> None:
    """Give a server, with its volumes, to a tenant (operators)."""
    with client_of(context) as client:
        done = client.put(at("servers", server, "tenant"), {"tenant": tenant})
    finish(
        done,
        Message("server {server} is {tenant}'s", server=done["name"], tenant=done["tenant"]),
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
    confirmed(Message("deleting server {name}", name=server), server, yes=yes)
    with client_of(context) as client:
        row = client.get(at("servers", server))
        path = at("servers", row["server"])
        done = client.delete(path, volumes=volumes or None, confirm=row["name"])
    finish(done, Message("server {server} is deleted", server=row["name"]), as_json=as_json)


def _show_made(made: Mapping[str, Any], *, as_json: bool) -> None:
    state = "started" if made["started"] else Message("ready, stopped")
    finish(
        made,
        Message(
            "server {server} ({id}) is {state}", server=made["name"], id=made["server"], state=state
        ),
        as_json=as_json,
    )


def _say_plan(plan: Mapping[str, Any]) -> None:
    say(
        Message(
            "server {server}, identity: {identity}",
            server=plan["name"],
            identity=shown("identity", plan["identity"]),
        )
    )
    print_table(
        ["device", "snapshot", "taken", "size", "image"],
        [
            [
                one["device"],
                one["snapshot_name"],
                when(one["created_at"]),
                size(one["bytes_volume"]),
                one["path"],
            ]
            for one in plan["volumes"]
        ],
        empty=Message("no volumes"),
    )
    if plan["gap_seconds"]:
        say(Message("The snapshots are {span} apart.", span=span(plan["gap_seconds"])))
    for one in plan["volumes"]:
        if one["warning"]:
            say(Message("{device}: {warning}.", device=one["device"], warning=one["warning"]))
