"""`dozo recovery-point …`: all volumes of a server at one instant."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from dozo.cli import following
from dozo.cli.client import at, client_of
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
from dozo.cli.snapshot import show_copied, show_verified
from dozo.cli.speech import shown
from dozo.model.message import Message, counted

app = typer.Typer(help="Recovery points: a server's volumes at one instant.", no_args_is_help=True)

PointArgument = Annotated[str, typer.Argument(help="Name, id, or the beginning of an id.")]


@app.command()
def create(
    context: typer.Context,
    server: Annotated[str, typer.Argument(help="The server.")],
    name: Name = None,
    mode: ModeOption = None,
    volume: Annotated[
        list[str] | None,
        typer.Option(help="Only this volume (name, device or id); may be repeated."),
    ] = None,
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
    """Snapshot all volumes of a server at one instant, with the server's state."""
    body = {
        "server": server,
        "volumes": volume or [],
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
    made = following.run(context, "/recovery-points", body, as_json=as_json, no_wait=no_wait)
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
    with client_of(context) as client:
        rows = client.everything("/recovery-points", server=server)
    if as_json:
        print_json(rows)
        return
    print_table(
        ["recovery point", "name", "server", "taken", "volumes", "complete", "copies"],
        [
            [
                short(row["recovery_point"]),
                row["name"],
                row["server"],
                when(row["created_at"]),
                str(len(row["snapshots"])),
                _complete(row),
                copies(row["copies"]),
            ]
            for row in rows
        ],
        empty="no recovery points",
    )


@app.command()
def show(context: typer.Context, point: PointArgument, as_json: AsJson = False) -> None:
    """Show a recovery point and its snapshots."""
    with client_of(context) as client:
        row = client.get(at("recovery-points", point))
    if as_json:
        print_json(row)
        return
    print_facts(
        {
            "recovery point": row["recovery_point"],
            "name": row["name"],
            "server": f"{row['server']} ({row['server_uuid']})",
            "taken": when(row["created_at"]),
            "complete": _complete(row),
            "left out": listed(f"{one['device']} ({one['reason']})" for one in row["left_out"]),
            "copies": copies(row["copies"]),
            **note_facts(row["notes"]),
        }
    )
    print_table(
        ["snapshot", "device", "size", "mode", "consistency", "copies"],
        [
            [
                short(one["snapshot"]),
                one["device"],
                size(one["bytes_volume"]),
                shown("mode", one["mode"]),
                shown("consistency", one["consistency"]),
                copies(one["copies"]),
            ]
            for one in row["snapshots"]
        ],
        empty="none of its snapshots is here",
    )


def _complete(row: Mapping[str, Any]) -> str:
    return (
        Message("yes")
        if row["complete"]
        else Message("no: {names} missing", names=", ".join(row["missing"]))
    )


@app.command()
def verify(
    context: typer.Context,
    point: PointArgument,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what it shares with older snapshots.")
    ] = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Read a recovery point's snapshots back from this site's vault."""
    path = at("recovery-points", point, "verify")
    body = {"everything": everything}
    done = following.run(context, path, body, as_json=as_json, no_wait=no_wait)
    show_verified(done["verified"], as_json=as_json)


@app.command()
def copy(
    context: typer.Context,
    point: PointArgument,
    to: Annotated[str, typer.Option("--to", help="The peer to copy to.")] = "",
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Copy a recovery point's snapshots to a peer; only what it lacks is sent."""
    path = at("recovery-points", point, "copy")
    done = following.run(context, path, {"peer": to}, as_json=as_json, no_wait=no_wait)
    show_copied(done, as_json=as_json)


@app.command()
def delete(context: typer.Context, point: PointArgument, as_json: AsJson = False) -> None:
    """Delete a recovery point's snapshots; `undelete` brings them back until they are pruned."""
    with client_of(context) as client:
        row = client.get(at("recovery-points", point))
        count = len(row["snapshots"])
        path = at("recovery-points", row["recovery_point"], "delete")
        ids = client.post(path, {"confirm_count": count} if count else {})["done"]
    if as_json:
        print_json({"recovery_point": row["recovery_point"], "deleted": ids})
    else:
        say(
            counted(
                len(ids),
                "recovery point {name}: {count} snapshot deleted",
                "recovery point {name}: {count} snapshots deleted",
                name=row["name"],
            )
        )


@app.command()
def undelete(context: typer.Context, point: PointArgument, as_json: AsJson = False) -> None:
    """Bring a deleted recovery point's snapshots back."""
    with client_of(context) as client:
        ids = client.post(at("recovery-points", point, "undelete"))["done"]
    line = counted(
        len(ids),
        "recovery point {name}: {count} snapshot brought back",
        "recovery point {name}: {count} snapshots brought back",
        name=point,
    )
    finish({"undeleted": ids}, line, as_json=as_json)
