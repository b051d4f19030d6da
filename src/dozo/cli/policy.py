"""`dozo policy …`: what tenants may do."""

import json
from typing import Annotated, Any

import typer

from dozo.cli.client import at, client_of
from dozo.cli.output import AsJson, cell, finish, listed, print_json, print_table, say
from dozo.model.message import Message

app = typer.Typer(help="Policies: what tenants may do.", no_args_is_help=True)

TenantArgument = Annotated[str, typer.Argument(help="The tenant's name.")]


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List the presets, with all their settings."""
    with client_of(context) as client:
        found = client.get("/policies")
    if as_json:
        print_json(found)
        return
    names = list(found[0]["settings"]) if found else []
    print_table(
        ["setting", *(row["preset"] for row in found)],
        [
            [name.replace("_", " "), *(cell(row["settings"][name]) for row in found)]
            for name in names
        ],
        empty=Message("no presets"),
    )


@app.command()
def show(context: typer.Context, tenant: TenantArgument, as_json: AsJson = False) -> None:
    """Show a tenant's policy: its preset with the operator's changes."""
    with client_of(context) as client:
        row = client.get(at("tenants", tenant, "policy"))
    if as_json:
        print_json(row)
        return
    say(
        Message(
            "preset {preset}; changed: {changed}",
            preset=row["preset"],
            changed=listed(row["overrides"]),
        )
    )
    print_table(
        ["setting", "value"],
        [[name.replace("_", " "), cell(value)] for name, value in row["settings"].items()],
        empty=Message("no settings"),
    )


@app.command("set")
def set_(
    context: typer.Context,
    tenant: TenantArgument,
    preset: Annotated[str | None, typer.Option(help="The preset to begin with.")] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="One setting; may be repeated."),
    ] = None,
    unset: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="As the preset has it again; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change a tenant's policy (operators). Nothing that is there is deleted by it."""
    changes = dict(_pair(one) for one in change or ())
    path = at("tenants", tenant, "policy")
    with client_of(context) as client:
        found = client.send("GET", path)
        overrides = {**found.data["overrides"], **changes}
        for name in unset or ():
            overrides.pop(name, None)
        body = {"preset": preset or found.data["preset"], "overrides": overrides}
        done = client.change("PUT", path, body, read=found)
    finish(
        done,
        Message("tenant {tenant} has policy {preset}", tenant=tenant, preset=done["preset"]),
        as_json=as_json,
    )


def _pair(text: str) -> tuple[str, Any]:
    """``NAME=VALUE``; a value is read as JSON where it is JSON, else as text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(Message("{text!r} is not NAME=VALUE", text=text))
    try:
        return name.strip(), json.loads(value)
    except ValueError:
        return name.strip(), value
