"""`dozo template …`: what new servers are made of."""

from typing import Annotated

import typer

from dozo.cli.opened import site_of
from dozo.cli.output import AsJson, print_json, print_table, progress, say, short, size, when

app = typer.Typer(help="Templates, made from root volumes' snapshots.", no_args_is_help=True)


@app.command()
def create(
    context: typer.Context,
    snapshot: Annotated[str, typer.Argument(help="The snapshot of a root volume.")],
    name: Annotated[str, typer.Option(help="The template's name.")],
    as_json: AsJson = False,
) -> None:
    """Make a template of a root volume's snapshot; it stays when the snapshot is deleted."""
    from dozo.services import templates

    with site_of(context, changes=True) as site, progress(as_json=as_json) as work:
        made = templates.create(site, templates.plan(site, snapshot, name=name), work=work)
    if as_json:
        print_json(made)
    else:
        say(f"template {made.name} ({short(made.template)}), {size(made.bytes_volume)}")


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List templates."""
    from dozo.services import views

    with site_of(context) as site:
        rows = views.list_templates(site)
    if as_json:
        print_json(rows)
        return
    print_table(
        ["template", "name", "made of server", "taken", "size", "copies"],
        [
            [
                short(row.template),
                row.name,
                row.source_server or "-",
                when(row.created_at),
                size(row.bytes_volume),
                ", ".join(f"{site}: {state}" for site, state in row.copies.items()) or "-",
            ]
            for row in rows
        ],
        empty="no templates",
    )


@app.command()
def delete(
    context: typer.Context,
    template: Annotated[str, typer.Argument(help="Name, id, or the beginning of an id.")],
    as_json: AsJson = False,
) -> None:
    """Delete a template; servers made of it stay."""
    from dozo.services import templates

    with site_of(context, changes=True) as site:
        row = templates.delete(site, template)
    if as_json:
        print_json({"template": row.template, "deleted": True})
    else:
        say(f"template {row.name} is deleted")
