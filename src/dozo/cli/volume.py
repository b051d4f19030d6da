"""`dozo volume …`: virtual disks, attached or not."""

from enum import StrEnum
from typing import Annotated

import typer

from dozo.cli import following
from dozo.cli.client import at, client_of
from dozo.cli.confirming import confirmed
from dozo.cli.following import NoWait
from dozo.cli.output import (
    AcceptPlaintext,
    AsJson,
    finish,
    print_facts,
    print_json,
    print_table,
    say,
    size,
    when,
)
from dozo.cli.speech import shown
from dozo.model.message import Message

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
    with client_of(context) as client:
        rows = client.everything("/volumes", gone=gone or None)
    if as_json:
        print_json(rows)
        return
    print_table(
        ["volume", "server", "device", "kind", "size", "state", "newest snapshot", "id"],
        [
            [
                row["name"],
                row["server"] or "-",
                row["device"] or "-",
                shown("volume-role", "root" if row["root"] else "data"),
                size(row["bytes_volume"]),
                Message("restoring ({state})", state=shown("volume", row["state"]))
                if row["restoring"]
                else shown("volume", row["state"]),
                when(row["newest_snapshot_at"]),
                row["volume"],
            ]
            for row in rows
        ],
        empty=Message("no volumes"),
    )


@app.command()
def show(context: typer.Context, volume: VolumeArgument, as_json: AsJson = False) -> None:
    """Show a volume."""
    with client_of(context) as client:
        row = client.get(at("volumes", volume))
    if as_json:
        print_json(row)
        return
    print_facts(
        {
            "volume": row["name"],
            "id": row["volume"],
            "state": shown("volume", row["state"]),
            "server": row["server"] or "-",
            "device": Message(
                "{device} ({bus}, serial {serial})",
                device=row["device"] or "-",
                bus=row["bus"] or "-",
                serial=row["serial"] or "-",
            ),
            "kind": shown("volume-role", "root" if row["root"] else "data"),
            "size": size(row["bytes_volume"]),
            "image": f"{row['path'] or '-'} ({row['format'] or '-'})",
            "made of": row["origin_snapshot"] or "-",
            "snapshots": Message(
                "{snapshots}, newest {at}",
                snapshots=row["snapshots"],
                at=when(row["newest_snapshot_at"]),
            ),
        }
    )
    if row["restoring"]:
        say(
            Message(
                "It is being restored to snapshot {snapshot} and not complete.",
                snapshot=row["restoring"],
            )
        )


@app.command()
def create(
    context: typer.Context,
    snapshot: Annotated[str, typer.Option(help="The snapshot whose bytes it gets.")],
    name: Annotated[str, typer.Option(help="The new volume's name.")],
    format: Annotated[ImageFormat, typer.Option(help="The image's format.")] = ImageFormat.QCOW2,
    accept_plaintext: AcceptPlaintext = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Make a new volume from a snapshot; it is attached to nothing at first."""
    body = {
        "snapshot": snapshot,
        "name": name,
        "format": format.value,
        "accept_plaintext": accept_plaintext,
    }
    made = following.run(context, "/volumes", body, as_json=as_json, no_wait=no_wait)
    if as_json:
        print_json(made)
        return
    volume_size = size(made["bytes_volume"])
    say(
        Message(
            "volume {name} ({id}) is at {path}, {size}",
            name=made["name"],
            id=made["volume"],
            path=made["path"],
            size=volume_size,
        )
    )
    say(Message("Attach it with: dozo volume attach {name} SERVER", name=made["name"]))


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
    body = {"server": server, "device": device, "bus": bus, "serial": serial}
    with client_of(context) as client:
        done = client.post(at("volumes", volume, "attach"), body)
    line = Message(
        "volume {volume} is {server}'s {device}",
        volume=done["volume"],
        server=done["server"],
        device=done["device"],
    )
    finish(done, line, as_json=as_json)


@app.command()
def detach(
    context: typer.Context,
    volume: VolumeArgument,
    server: Annotated[str, typer.Argument(help="The server.")],
    as_json: AsJson = False,
) -> None:
    """Detach a volume from a server; unmount it in the guest before."""
    with client_of(context) as client:
        done = client.post(at("volumes", volume, "detach"), {"server": server})
    line = Message(
        "volume {volume} is detached from {server}", volume=done["volume"], server=done["server"]
    )
    finish(done, line, as_json=as_json)


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
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Put a stopped server's volume back to a snapshot, in place.

    What is there now is kept in a safety snapshot first; only what differs is written.
    """
    if (snapshot is None) == (not resume and not go_back) or (resume and go_back):
        raise typer.BadParameter(Message("give exactly one of SNAPSHOT, --resume and --go-back"))
    body: dict[str, object] = {"snapshot": snapshot} if snapshot else {}
    if resume or go_back:
        body["resume" if resume else "go_back"] = True
    path = at("volumes", volume, "restore")
    done = following.run(context, path, body, as_json=as_json, no_wait=no_wait)
    if as_json:
        print_json(done)
        return
    written = size(done["bytes_written"])
    say(
        Message(
            "volume {volume} is at snapshot {snapshot} again; {written}",
            volume=done["volume"],
            snapshot=done["snapshot"],
            written=written,
        )
    )
    if done["safety_snapshot"]:
        say(
            Message(
                "What was there before is kept as snapshot {snapshot}.",
                snapshot=done["safety_snapshot"],
            )
        )


@app.command()
def delete(
    context: typer.Context,
    volume: VolumeArgument,
    yes: Annotated[bool, typer.Option("--yes", help="It is meant.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a volume that Dozo made and that is attached to nothing; its snapshots stay."""
    confirmed(Message("deleting volume {name}", name=volume), volume, yes=yes)
    with client_of(context) as client:
        row = client.get(at("volumes", volume))
        done = client.delete(at("volumes", row["volume"]), confirm=row["name"])
    finish(done, Message("volume {volume} is deleted", volume=row["name"]), as_json=as_json)
