"""`dozo token …`: what programs log in with."""

from typing import Annotated

import typer

from dozo.cli.client import at, client_of
from dozo.cli.output import AsJson, finish, listed, print_json, print_table, say, when, yes_no
from dozo.cli.times import text_of
from dozo.model.message import Message

app = typer.Typer(help="Tokens: what programs log in with.", no_args_is_help=True)

OfUser = Annotated[str | None, typer.Option("--user", help="Somebody else's (admins).")]


@app.command("list")
def list_(context: typer.Context, user: OfUser = None, as_json: AsJson = False) -> None:
    """List tokens."""
    path = at("users", user, "tokens") if user else "/tokens"
    with client_of(context) as client:
        rows = client.everything(path)
    if as_json:
        print_json(rows)
        return
    print_table(
        ["token", "name", "scopes", "made", "expires", "last used", "valid"],
        [
            [
                row["prefix"],
                row["name"],
                listed(row["scopes"]),
                when(row["created_at"]),
                when(row["expires_at"]),
                when(row["last_used_at"]),
                yes_no(row["valid"]),
            ]
            for row in rows
        ],
        empty=Message("no tokens"),
    )


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What it is for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="Such as snapshot.create:volume=ID or '*.list'; may be repeated."),
    ] = None,
    expires: Annotated[str | None, typer.Option(help="A date or a time; never unless given.")] = (
        None
    ),
    as_json: AsJson = False,
) -> None:
    """Make a token of your own; it is shown this once."""
    body = {
        "name": name,
        "scopes": scope or ["*"],
        "expires_at": text_of(expires) if expires else None,
    }
    with client_of(context) as client:
        done = client.post("/tokens", body)
    if as_json:
        print_json(done)
        return
    say(done["token"])
    say(Message("Keep it in a safe place: it is not shown again."))


@app.command()
def revoke(
    context: typer.Context,
    token: Annotated[str, typer.Argument(help="The part after dozo_ that the list shows.")],
    user: OfUser = None,
    as_json: AsJson = False,
) -> None:
    """Make a token worthless, at once."""
    path = at("users", user, "tokens", token) if user else at("tokens", token)
    with client_of(context) as client:
        done = client.delete(path)
    finish(
        done or {"prefix": token}, Message("token {token} is revoked", token=token), as_json=as_json
    )
