"""`dozo hold …`: keeping snapshots from everybody until a date."""

from typing import Annotated

import typer

from dozo.cli.client import at, client_of
from dozo.cli.output import AsJson, print_json, print_table, say, short, when
from dozo.cli.times import text_of
from dozo.model.message import Message

app = typer.Typer(help="Holds: snapshots that nobody may delete.", no_args_is_help=True)


@app.command()
def add(
    context: typer.Context,
    snapshot: Annotated[str, typer.Argument(help="Name, id, or the beginning of an id.")],
    until: Annotated[str, typer.Option(help="A date or a time; can be extended later.")],
    note: Annotated[str, typer.Option(help="Why.")] = "",
    as_json: AsJson = False,
) -> None:
    """Keep a snapshot until a date, whoever wants it gone."""
    body = {"until": text_of(until), "note": note}
    with client_of(context) as client:
        done = client.post(at("snapshots", snapshot, "holds"), body)
    if as_json:
        print_json(done)
    else:
        say(
            Message(
                "snapshot {snapshot} is held until {until}",
                snapshot=done["name"],
                until=when(done["until"]),
            )
        )


@app.command("list")
def list_(
    context: typer.Context,
    snapshot: Annotated[str | None, typer.Argument(help="Only this snapshot's.")] = None,
    as_json: AsJson = False,
) -> None:
    """List holds."""
    path = at("snapshots", snapshot, "holds") if snapshot else "/holds"
    with client_of(context) as client:
        found = client.everything(path)
    if as_json:
        print_json(found)
        return
    print_table(
        ["snapshot", "name", "until", "note"],
        [
            [short(one["snapshot"]), one["name"], when(one["until"]), one["note"] or "-"]
            for one in found
        ],
        empty=Message("no holds"),
    )
