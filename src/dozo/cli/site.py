"""`dozo site …`: this site, its peers, and bringing things back."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dozo.cli import following
from dozo.cli.client import client_of
from dozo.cli.exits import EXIT_CODES
from dozo.cli.following import NoWait
from dozo.cli.output import (
    AsJson,
    finish,
    listed,
    print_facts,
    print_json,
    print_table,
    say,
    short,
    show_one,
    size,
    yes_no,
)
from dozo.cli.speech import shown
from dozo.model.errors import ErrorKind
from dozo.model.message import Message, counted

app = typer.Typer(help="Sites.", no_args_is_help=True)

Verify = Annotated[
    bool, typer.Option("--verify/--no-verify", help="Read back what nobody has read back here.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan only.")]


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List this site and its peers."""
    with client_of(context) as client:
        rows = client.everything("/sites")
    if as_json:
        print_json(rows)
        return
    print_table(
        ["site", "", "vault", "copies"],
        [
            [
                row["site"],
                shown("site-role", row["role"]),
                row["vault"],
                listed(f"{count} {state}" for state, count in sorted(row["copies"].items())),
            ]
            for row in rows
        ],
        empty=Message("no sites"),
    )


@app.command()
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Show this site."""
    with client_of(context) as client:
        row = client.get("/site")
    show_one(row, as_json=as_json)


@app.command()
def settings(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the settings that the service runs with; secrets are left out."""
    with client_of(context) as client:
        row = client.get("/settings")
    show_one(row, as_json=as_json)


@app.command("add-peer")
def add_peer(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The peer's name, as its own dozo.toml has it.")],
    vault: Annotated[str, typer.Option(help="Where the peer's vault is.")],
    public_key: Annotated[
        str, typer.Option(help="The peer's public key, or the file with it (keys.….pub).")
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="The peer came back elsewhere or with new keys.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let a peer open what this site stores, and remember where its vault is."""
    body = {
        "name": name,
        "vault": vault if "://" in vault else str(Path(vault).absolute()),
        "public_key": _key_text(public_key),
        "replace": replace,
    }
    with client_of(context) as client:
        peer = client.post("/site/peers", body)
    line = Message(
        "peer {peer}: its site can read what is stored here from now on", peer=peer["name"]
    )
    finish(peer, line, as_json=as_json)


def _key_text(given: str) -> str:
    """The key itself; the service may not be able to read this command's files."""
    if given.startswith("dozo-site-"):
        return given
    try:
        return Path(given).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(
            Message("{given} is neither a public key nor a file: {error}", given=given, error=error)
        ) from None


@app.command("notify-test")
def notify_test(context: typer.Context, as_json: AsJson = False) -> None:
    """Send a test message to each address that news goes to; exit code 6 if one takes none."""
    with client_of(context) as client:
        rows = client.post("/site/notify-test")
    if as_json:
        print_json(rows)
    else:
        print_table(
            ["address", "taken", "problem"],
            [[row["address"], yes_no(row["taken"]), row["problem"]] for row in rows],
            empty=Message("no addresses"),
        )
    if not all(row["taken"] for row in rows):
        raise typer.Exit(EXIT_CODES[ErrorKind.UNAVAILABLE])


@app.command()
def sync(
    context: typer.Context,
    verify: Verify = True,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Bring the catalog in step with vault, hypervisor and peers; verify what is new."""
    path, body = "/site/sync", {"verify": verify}
    done = following.run(context, path, body, as_json=as_json, no_wait=no_wait)
    if as_json:
        print_json(done)
        return
    print_facts(
        {
            "snapshots": str(done["catalog"]["snapshots"]),
            "templates": str(done["catalog"]["templates"]),
            "not readable here": str(done["catalog"]["unreadable"]),
            "verified now": str(done["verified_count"]),
            "hypervisor": done["inventory"],
            **{Message("peer {peer}", peer=name): state for name, state in done["peers"].items()},
        }
    )


@app.command()
def retain(
    context: typer.Context,
    allow_many: Annotated[
        bool,
        typer.Option("--allow-many", help="Go on where it stopped, after looking at --dry-run."),
    ] = False,
    dry_run: DryRun = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Remove the generations that no schedule keeps any more; the service does it by itself."""
    if dry_run:
        with client_of(context) as client:
            found = client.get("/site/retention")
        _show_retention(found, as_json=as_json)
        return
    body = {"allow_many": allow_many}
    done = following.run(context, "/site/retain", body, as_json=as_json, no_wait=no_wait)
    show_one(done, as_json=as_json)


def _show_retention(found: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    print_table(
        ["of", "stay", "go", "because"],
        [
            [
                one["of"],
                str(len(one["keep"])),
                listed(short(snapshot) for snapshot in one["delete"]),
                Message("nothing goes: {reason}", reason=shown("retention-refused", one["refused"]))
                if one["refused"]
                else listed(shown("delete", why) for why in sorted(set(one["delete"].values()))),
            ]
            for one in found
        ],
        empty=Message("no scheduled snapshots"),
    )


@app.command()
def prune(
    context: typer.Context,
    grace: Annotated[
        int | None,
        typer.Option(help="Seconds since deletion; upkeep.undelete_days unless given.", min=0),
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Reclaim the space of deleted snapshots; they cannot be brought back any more."""
    body = {} if grace is None else {"grace_seconds": grace}
    done = following.run(context, "/site/prune", body, as_json=as_json, no_wait=no_wait)
    show_one(done, as_json=as_json)


@app.command()
def scrub(
    context: typer.Context,
    repair_from: Annotated[
        str | None, typer.Option(help="Mend what is damaged from this peer.")
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Read everything in this site's vault back; exit code 5 while damage remains."""
    body = {} if repair_from is None else {"repair_from": repair_from}
    done = following.run(context, "/site/scrub", body, as_json=as_json, no_wait=no_wait)
    line = Message(
        "{size} in {packs} packs read, no damage remains",
        size=size(done["bytes_read"]),
        packs=done["packs_read"],
    )
    finish(done, line, as_json=as_json)


@app.command()
def rebuild(
    context: typer.Context,
    source: Annotated[str, typer.Option("--from", help="The peer to rebuild from.")] = "",
    verify: Verify = True,
    dry_run: DryRun = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Fill this site's vault from a peer's, then its catalog; may be interrupted and repeated."""
    body = {"peer": source, "verify": verify}
    if dry_run:
        plan = following.plan(context, "/site/rebuild", body)
        line = counted(
            len(plan["snapshots_missing"]),
            "missing here: {count} snapshot, of volumes of {size} altogether",
            "missing here: {count} snapshots, of volumes of {size} altogether",
            size=size(plan["bytes_volume_missing"]),
        )
        finish(plan, line, as_json=as_json)
        return
    done = following.run(context, "/site/rebuild", body, as_json=as_json, no_wait=no_wait)
    if as_json:
        print_json(done)
        return
    print_facts(
        {
            "from": done["source"],
            "snapshots before": str(done["snapshots_before"]),
            "snapshots now": str(done["snapshots_after"]),
            "copied": Message(
                "{size} in {seconds:.1f} s",
                size=size(done["bytes_copied"]),
                seconds=done["seconds"],
            ),
            "not readable here": str(done["catalog"]["unreadable"]),
            "verified now": str(done["verified_count"]),
        }
    )
    for one in done["verified"]:
        say(
            Message(
                "  {id} {name}: {state}",
                id=short(one["snapshot"]),
                name=one["name"],
                state=shown("copy", one["state"]),
            )
        )


@app.command("rebuild-catalog")
def rebuild_catalog(
    context: typer.Context, no_wait: NoWait = False, as_json: AsJson = False
) -> None:
    """Make the catalog anew from this site's vault alone."""
    done = following.run(context, "/site/rebuild-catalog", as_json=as_json, no_wait=no_wait)
    if as_json:
        print_json(done)
        return
    print_facts(
        {
            "snapshots": str(done["snapshots"]),
            "templates": str(done["templates"]),
            "recovery points": str(done["recovery_points"]),
            "deleted": str(done["deleted"]),
            "not readable here": str(done["unreadable"]),
        }
    )
