"""`dozo template …`: what new servers are made of."""

from typing import Annotated

import typer

from dozo.cli import following
from dozo.cli.client import at, client_of
from dozo.cli.following import NoWait
from dozo.cli.output import (
    AsJson,
    copies,
    print_facts,
    print_json,
    print_table,
    say,
    short,
    size,
    when,
)
from dozo.model.message import Message

app = typer.Typer(help="Templates, made from root volumes' snapshots.", no_args_is_help=True)

TemplateArgument = Annotated[str, typer.Argument(help="Name, id, or the beginning of an id.")]


@app.command()
def create(
    context: typer.Context,
    snapshot: Annotated[str, typer.Argument(help="The snapshot of a root volume.")],
    name: Annotated[str, typer.Option(help="The template's name.")],
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Make a template of a root volume's snapshot; it stays when the snapshot is deleted."""
    body = {"snapshot": snapshot, "name": name}
    made = following.run(context, "/templates", body, as_json=as_json, no_wait=no_wait)
    if as_json:
        print_json(made)
    else:
        say(
            Message(
                "template {name} ({id}), {size}",
                name=made["name"],
                id=short(made["template"]),
                size=size(made["bytes_volume"]),
            )
        )


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List templates."""
    with client_of(context) as client:
        rows = client.everything("/templates")
    if as_json:
        print_json(rows)
        return
    print_table(
        ["template", "name", "made of server", "taken", "size", "copies"],
        [
            [
                short(row["template"]),
                row["name"],
                row["source_server"] or "-",
                when(row["created_at"]),
                size(row["bytes_volume"]),
                copies(row["copies"]),
            ]
            for row in rows
        ],
        empty=Message("no templates"),
    )


@app.command()
def show(context: typer.Context, template: TemplateArgument, as_json: AsJson = False) -> None:
    """Show a template."""
    with client_of(context) as client:
        row = client.get(at("templates", template))
    if as_json:
        print_json(row)
        return
    print_facts(
        {
            "template": row["template"],
            "name": row["name"],
            "made of server": row["source_server"] or "-",
            "made of snapshot": row["source_snapshot"],
            "taken": when(row["created_at"]),
            "size": size(row["bytes_volume"]),
            "tenant": row["tenant"],
            "copies": copies(row["copies"]),
        }
    )


@app.command()
def delete(context: typer.Context, template: TemplateArgument, as_json: AsJson = False) -> None:
    """Delete a template; servers made of it stay."""
    with client_of(context) as client:
        row = client.get(at("templates", template))
        client.delete(at("templates", row["template"]))
    if as_json:
        print_json({"template": row["template"], "deleted": True})
    else:
        say(Message("template {name} is deleted", name=row["name"]))
