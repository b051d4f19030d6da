"""`dozo login`, `logout`, `whoami` and `password`: one's own account."""

import platform
from pathlib import Path
from typing import Annotated, Any

import typer

from dozo.cli import profiles
from dozo.cli.client import Client, ServiceProblem, client_of
from dozo.cli.errors import ProfileNeeded
from dozo.cli.opened import chosen
from dozo.cli.output import AsJson, finish, show_one
from dozo.cli.secrets_asked import PasswordStdin, new_password
from dozo.cli.secrets_asked import password as asked_password
from dozo.cli.speech import told
from dozo.model.errors import ErrorKind
from dozo.model.message import Message


def login(
    context: typer.Context,
    user: Annotated[str | None, typer.Argument(help="Your user name; asked for.")] = None,
    url: Annotated[
        str | None, typer.Option(help="Where the service is, for a new profile: https://…")
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(help="Certificates to trust, for a new profile.", exists=True, dir_okay=False),
    ] = None,
    days: Annotated[int, typer.Option(help="How long the token is valid.", min=1, max=365)] = 30,
    code: Annotated[
        str, typer.Option(help="The second factor's code; asked for on a terminal.")
    ] = "",
    password_stdin: PasswordStdin = False,
    as_json: AsJson = False,
) -> None:
    """Log in to the service of --profile, and keep a token for it."""
    profile = _profile(context, "login", url, ca)
    user = user or typer.prompt(told(Message("User name")), err=True)
    body = {
        "username": user,
        "password": asked_password(
            Message("Password of {user}", user=user), from_stdin=password_stdin
        ),
        "token_name": f"dozo on {platform.node()}"[:100],
        "days": days,
        "code": code,
    }
    profiles.forget_token(profile)
    client = Client.of_profile(profile)
    try:
        done = _logged_in(client, body, may_ask=not password_stdin)
    finally:
        client.close()
    profiles.save(profile)
    profiles.save_token(profile, done["token"])
    shown = {"profile": profile.name, "url": profile.url, "user": user}
    finish(
        shown, Message("{user} is logged in at {url}", user=user, url=profile.url), as_json=as_json
    )


def _logged_in(client: Client, body: dict[str, object], *, may_ask: bool) -> Any:
    """Log in; where the account has a second factor, ask for the code."""
    try:
        return client.post("/login", body)
    except ServiceProblem as problem:
        if problem.code != "access.second_factor_required" or not may_ask:
            raise
    code = typer.prompt("Code of the authenticator app", err=True)
    return client.post("/login", {**body, "code": code})


def _profile(
    context: typer.Context, command: str, url: str | None = None, ca: Path | None = None
) -> profiles.Profile:
    name = chosen(context).profile
    if name is None:
        raise ProfileNeeded(command)
    if url is not None:
        _refuse_clear(url)
        return profiles.Profile(
            name=name, url=url.rstrip("/"), ca=ca.absolute() if ca is not None else None
        )
    return profiles.load(name)


def _refuse_clear(url: str) -> None:
    """A password crosses a network only under TLS."""
    if not profiles.is_private(url):
        raise typer.BadParameter(
            Message(
                "{url!r} does not begin with https:// (http:// is for this host alone)", url=url
            )
        )


def logout(context: typer.Context, as_json: AsJson = False) -> None:
    """Forget the token of --profile, and let the service forget it."""
    profile = _profile(context, "logout")
    if profile.token() is not None:
        client = Client.of_profile(profile)
        try:
            client.post("/logout")
        except ServiceProblem as problem:
            # A token that is worthless already has not to be revoked.
            if problem.kind is not ErrorKind.UNAUTHENTICATED:
                raise
        finally:
            client.close()
        profiles.forget_token(profile)
    finish(
        {"profile": profile.name}, Message("logged out of {url}", url=profile.url), as_json=as_json
    )


def whoami(context: typer.Context, as_json: AsJson = False) -> None:
    """Show who the service takes you for."""
    with client_of(context) as client:
        row = client.get("/account")
    show_one(row, as_json=as_json)


def account(
    context: typer.Context,
    display_name: Annotated[str | None, typer.Option(help="The name for people.")] = None,
    email: Annotated[str | None, typer.Option(help="An address for news.")] = None,
    language: Annotated[str | None, typer.Option(help="en or ja.")] = None,
    time_zone: Annotated[str | None, typer.Option(help="Such as Asia/Tokyo.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given of your own account."""
    given = {
        "display_name": display_name,
        "email": email,
        "language": language,
        "time_zone": time_zone,
    }
    body = {name: value for name, value in given.items() if value is not None}
    if not body:
        raise typer.BadParameter(Message("say what to change; `dozo whoami` shows what there is"))
    with client_of(context) as client:
        done = client.send("PATCH", "/account", body=body).data
    finish(done, Message("your account is changed"), as_json=as_json)


def password(
    context: typer.Context, password_stdin: PasswordStdin = False, as_json: AsJson = False
) -> None:
    """Change your own password; --password-stdin reads two lines, the old one and the new one."""
    body = {
        "old": asked_password(Message("Present password"), from_stdin=password_stdin),
        "new": new_password(from_stdin=password_stdin),
    }
    with client_of(context) as client:
        client.post("/account/password", body)
    finish({"changed": True}, Message("your password is changed"), as_json=as_json)
