"""`dozo user …`: people, their roles and their tenants."""

from enum import StrEnum
from typing import Annotated

import typer

from dozo.cli.client import at, client_of
from dozo.cli.output import AsJson, finish, print_json, print_table, show_one, when, yes_no
from dozo.cli.secrets_asked import PasswordStdin, new_password
from dozo.cli.speech import shown
from dozo.model.message import Message

app = typer.Typer(help="Users: people, their roles and their tenants.", no_args_is_help=True)

UserArgument = Annotated[str, typer.Argument(help="The user's name.")]


class Role(StrEnum):
    """What somebody is."""

    MEMBER = "member"
    TENANT_ADMIN = "tenant-admin"
    OPERATOR = "operator"
    AUDITOR = "auditor"


class Language(StrEnum):
    """The languages of the console and of messages."""

    EN = "en"
    JA = "ja"


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List users."""
    with client_of(context) as client:
        rows = client.everything("/users")
    if as_json:
        print_json(rows)
        return
    print_table(
        ["user", "name", "role", "tenant", "active", "last login"],
        [
            [
                row["username"],
                row["display_name"] or "-",
                shown("role", row["role"]),
                row["tenant"] or "-",
                yes_no(row["active"]),
                when(row["last_login"]),
            ]
            for row in rows
        ],
        empty=Message("no users"),
    )


@app.command()
def show(context: typer.Context, user: UserArgument, as_json: AsJson = False) -> None:
    """Show a user."""
    with client_of(context) as client:
        row = client.get(at("users", user))
    show_one(row, as_json=as_json)


@app.command()
def create(
    context: typer.Context,
    user: UserArgument,
    role: Annotated[Role, typer.Option(help="What the user may do.")] = Role.MEMBER,
    tenant: Annotated[
        str | None, typer.Option(help="The user's tenant; operators and auditors have none.")
    ] = None,
    display_name: Annotated[str, typer.Option(help="The name for people.")] = "",
    email: Annotated[str, typer.Option(help="An address for news.")] = "",
    language: Annotated[
        Language | None, typer.Option(help="en or ja; as their browser has it, unless given.")
    ] = None,
    time_zone: Annotated[str, typer.Option(help="Such as Asia/Tokyo.")] = "",
    password_stdin: PasswordStdin = False,
    as_json: AsJson = False,
) -> None:
    """Make a user with a first password, which the user has to change."""
    body = {
        "username": user,
        "password": new_password(from_stdin=password_stdin),
        "role": role.value,
        "tenant": tenant,
        "display_name": display_name,
        "email": email,
        "language": language.value if language else "",
        "time_zone": time_zone,
    }
    with client_of(context) as client:
        done = client.post("/users", body)
    finish(
        done,
        Message(
            "user {user} is there, as {role}",
            user=done["username"],
            role=shown("role", done["role"]),
        ),
        as_json=as_json,
    )


@app.command()
def edit(
    context: typer.Context,
    user: UserArgument,
    role: Annotated[Role | None, typer.Option(help="What the user may do.")] = None,
    display_name: Annotated[str | None, typer.Option(help="The name for people.")] = None,
    email: Annotated[str | None, typer.Option(help="An address for news.")] = None,
    language: Annotated[Language | None, typer.Option(help="en or ja.")] = None,
    time_zone: Annotated[str | None, typer.Option(help="Such as Asia/Tokyo.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given of a user."""
    given = {
        "role": role.value if role else None,
        "display_name": display_name,
        "email": email,
        "language": language.value if language else None,
        "time_zone": time_zone,
    }
    body = {name: value for name, value in given.items() if value is not None}
    path = at("users", user)
    with client_of(context) as client:
        done = client.change("PATCH", path, body, read=client.send("GET", path))
    finish(done, Message("user {user} is changed", user=user), as_json=as_json)


@app.command()
def disable(context: typer.Context, user: UserArgument, as_json: AsJson = False) -> None:
    """Shut a user out, with all tokens; nothing of the user's is deleted."""
    with client_of(context) as client:
        done = client.post(at("users", user, "disable"))
    finish(done, Message("user {user} is disabled", user=user), as_json=as_json)


@app.command()
def enable(context: typer.Context, user: UserArgument, as_json: AsJson = False) -> None:
    """Let a user in again."""
    with client_of(context) as client:
        done = client.post(at("users", user, "enable"))
    finish(done, Message("user {user} is enabled", user=user), as_json=as_json)


@app.command("reset-second-factor")
def reset_second_factor(
    context: typer.Context, user: UserArgument, as_json: AsJson = False
) -> None:
    """Take away the second factor of somebody who has lost it; the password alone opens then."""
    with client_of(context) as client:
        done = client.post(at("users", user, "second-factor", "reset"))
    text = Message("user {user} logs in with the password alone", user=user)
    finish(done, text, as_json=as_json)


@app.command()
def password(
    context: typer.Context,
    user: UserArgument,
    password_stdin: PasswordStdin = False,
    as_json: AsJson = False,
) -> None:
    """Set somebody's password, which the user has to change; your own: `dozo password`."""
    body = {"password": new_password(from_stdin=password_stdin)}
    with client_of(context) as client:
        done = client.post(at("users", user, "password"), body)
    finish(done, Message("the password of {user} is set", user=user), as_json=as_json)
