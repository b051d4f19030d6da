"""`dozo hold …`: keeping snapshots from everybody until a date."""

from typing import Annotated

import typer

from dozo.cli.opened import site_of
from dozo.cli.output import AsJson, print_json, print_table, say, short, when
from dozo.cli.times import instant_of

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
    from dozo.services import snapshots

    instant = instant_of(until)
    with site_of(context, changes=True) as site:
        done = snapshots.hold(site, site.catalog.snapshot(snapshot), until=instant, note=note)
    if as_json:
        print_json(done)
    else:
        say(f"snapshot {done.name} is held until {when(done.until)}")


@app.command("list")
def list_(
    context: typer.Context,
    snapshot: Annotated[str | None, typer.Argument(help="Only this snapshot's.")] = None,
    as_json: AsJson = False,
) -> None:
    """List holds."""
    from dozo.services import snapshots

    with site_of(context) as site:
        found = snapshots.holds(site, site.catalog.snapshot(snapshot) if snapshot else None)
    if as_json:
        print_json(found)
        return
    print_table(
        ["snapshot", "name", "until", "note"],
        [[short(one.snapshot), one.name, when(one.until), one.note or "-"] for one in found],
        empty="no holds",
    )
