"""`dozo tenant …`: who owns servers and snapshots."""

from typing import Annotated

import typer

from dozo.cli.client import at, client_of
from dozo.cli.output import AsJson, cell, finish, print_json, print_table, show_one
from dozo.model.message import Message

app = typer.Typer(help="Tenants: who owns servers and snapshots.", no_args_is_help=True)

TenantArgument = Annotated[str, typer.Argument(help="The tenant's name.")]


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List tenants."""
    with client_of(context) as client:
        rows = client.everything("/tenants")
    if as_json:
        print_json(rows)
        return
    print_table(
        ["tenant", "policy", "changed", "servers", "users", "state"],
        [
            [
                row["tenant"],
                row["policy"],
                cell(row["policy_overrides"]),
                str(row["servers"]),
                str(row["users"]),
                Message("disabled") if row["disabled"] else Message("enabled"),
            ]
            for row in rows
        ],
        empty=Message("no tenants"),
    )


@app.command()
def show(context: typer.Context, tenant: TenantArgument, as_json: AsJson = False) -> None:
    """Show a tenant."""
    with client_of(context) as client:
        row = client.get(at("tenants", tenant))
    show_one(row, as_json=as_json)


@app.command()
def create(
    context: typer.Context,
    tenant: TenantArgument,
    policy: Annotated[
        str | None, typer.Option(help="The preset it begins with; `dozo policy list`.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a tenant, with keys of its own."""
    body = {"name": tenant} if policy is None else {"name": tenant, "policy": policy}
    with client_of(context) as client:
        done = client.post("/tenants", body)
    finish(done, Message("tenant {tenant} is there", tenant=tenant), as_json=as_json)


@app.command()
def disable(context: typer.Context, tenant: TenantArgument, as_json: AsJson = False) -> None:
    """Shut a tenant's users and tokens out; its snapshots stay, its schedules rest."""
    with client_of(context) as client:
        done = client.post(at("tenants", tenant, "disable"))
    finish(done, Message("tenant {tenant} is disabled", tenant=tenant), as_json=as_json)


@app.command()
def enable(context: typer.Context, tenant: TenantArgument, as_json: AsJson = False) -> None:
    """Let a tenant in again."""
    with client_of(context) as client:
        done = client.post(at("tenants", tenant, "enable"))
    finish(done, Message("tenant {tenant} is enabled", tenant=tenant), as_json=as_json)


@app.command()
def quota(context: typer.Context, tenant: TenantArgument, as_json: AsJson = False) -> None:
    """Show what a tenant uses, and what it may use."""
    with client_of(context) as client:
        row = client.get(at("tenants", tenant, "quota"))
    show_one(row, as_json=as_json)
