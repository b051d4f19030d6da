"""`dozo init`, `dozo serve`, `dozo worker` and `dozo doctor`."""

import enum
import socket
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from dozo.cli.opened import chosen, home_of
from dozo.cli.output import AsJson, plain, print_facts, print_json, print_table, say
from dozo.cli.speech import shown, told
from dozo.model.message import Message


class _LogFormat(enum.StrEnum):
    AUTO = "auto"
    TEXT = "text"
    JSON = "json"


LogFormatOption = Annotated[
    _LogFormat,
    typer.Option("--log-format", help="For people, or JSON lines; auto: text on a terminal."),
]


def init(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Option(help="The site's name; keep it when you set it up anew.")
    ] = None,
    vault: Annotated[
        str | None, typer.Option(help="Where the site's backup storage is: a folder.")
    ] = None,
    pool: Annotated[
        Path | None, typer.Option(help="Folder for the images of restored volumes.")
    ] = None,
    libvirt: Annotated[str, typer.Option(help="The hypervisor's address.")] = "qemu:///system",
    keys: Annotated[
        Path | None, typer.Option(envvar="DOZO_KEYS", help="The keys file; HOME/keys unless given.")
    ] = None,
    scratch: Annotated[
        Path | None, typer.Option(help="Folder for live snapshots' scratch; POOL/.scratch.")
    ] = None,
    database: Annotated[
        str,
        typer.Option(
            help="postgresql://… for the catalog (a password belongs into ~/.pgpass); SQLite unless"
            " given."
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Make a site: its home with dozo.toml, its vault, its keys and its first operator."""
    from dozo.services import accounts
    from dozo.services import site as sites

    home = home_of(context)
    plan = sites.plan_init(
        home=home,
        name=_asked(
            name, "--name", Message("Name of the site"), socket.gethostname().partition(".")[0]
        ),
        vault=_asked(
            vault, "--vault", Message("Folder for the backup storage"), str(home / "vault")
        ),
        pool=Path(
            _asked(
                str(pool) if pool else None,
                "--pool",
                Message("Folder for restored images"),
                str(home / "pool"),
            )
        ),
        keys=keys,
        scratch=scratch,
        libvirt=libvirt,
        database=database,
    )
    made = sites.init(plan)
    with sites.opened(made.home) as site:
        first = accounts.first_operator(site)
    if as_json:
        print_json(
            {
                **asdict(made),
                "operator": first.username if first else None,
                "password_file": first.password_file if first else None,
            }
        )
        return
    print_facts(
        {
            "site": made.site,
            "home": str(made.home),
            "vault": made.vault + (Message(" (was there already)") if made.vault_adopted else ""),
            "pool": str(made.pool),
            "keys": str(made.keys),
            "public key": made.public_key,
            "written to": str(made.public_key_file),
        }
        | ({"operator": first.username, "password in": str(first.password_file)} if first else {})
    )
    say(
        Message(
            "\nKeep a copy of {file} in escrow, away from this host and from the vault:"
            " without it nothing in the vault can be read, and nobody can make it anew.",
            file=made.keys,
        )
    )
    say(
        Message(
            "\nNext: `dozo --home {home} doctor` says what this host lacks,"
            " `dozo --home {home} serve` starts the service;"
            " docs/operations.md says how systemd does.",
            home=made.home,
        )
    )


def _asked(given: str | None, option: str, question: str, proposed: str) -> str:
    """What was given, else asked for; where nobody can be asked, it is wrong usage."""
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise typer.BadParameter(Message("is needed where nobody can be asked"), param_hint=option)
    return str(typer.prompt(told(question), default=proposed, err=True))


def serve(
    context: typer.Context,
    no_worker: Annotated[
        bool, typer.Option("--no-worker", help="The API alone: jobs run in `dozo worker`.")
    ] = False,
    behind_proxy: Annotated[
        bool,
        typer.Option(
            "--behind-proxy", help="A proxy in front does TLS: answer the network in clear."
        ),
    ] = False,
    log_format: LogFormatOption = _LogFormat.AUTO,
) -> None:
    """Run the service of a site: its API, its schedules and its jobs."""
    from dozo.daemon import serve as daemon
    from dozo.daemon.logs import LogFormat

    daemon.run(
        home_of(context),
        with_worker=not no_worker,
        behind_proxy=behind_proxy,
        log_format=LogFormat(log_format),
    )


def worker(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Option(help="What it is called, one at a time; HOST-beside unless given."),
    ] = None,
    log_format: LogFormatOption = _LogFormat.AUTO,
) -> None:
    """Run jobs and schedules alone; beside another worker only with PostgreSQL."""
    from dozo.daemon import work as daemon
    from dozo.daemon.logs import LogFormat

    daemon.run(home_of(context), name=name, log_format=LogFormat(log_format))


def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Check everything that the host needs, and say how to mend what is missing."""
    results = _findings(context)
    if as_json:
        print_json(results)
    else:
        print_table(
            ["", "check", "result"],
            [[shown("check", one["outcome"]), one["name"], one["found"]] for one in results],
            empty=Message("nothing to check"),
        )
        for one in results:
            if one["mend"]:
                say(Message("{name}: {text}", name=one["name"], text=one["mend"]))
    raise typer.Exit(6 if any(one["outcome"] == "missing" for one in results) else 0)


def _findings(context: typer.Context) -> list[dict[str, Any]]:
    """Of this host, whether a service runs or not; or with a profile of the host elsewhere."""
    if chosen(context).profile is not None:
        from dozo.cli.client import client_of

        with client_of(context) as client:
            return client.everything("/doctor")
    from dozo.services import doctor as checks

    return [plain(one) for one in checks.examine(home_of(context))]
