"""`dozo init` and `dozo doctor`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dozo.cli.opened import home_of
from dozo.cli.output import AsJson, print_facts, print_json, print_table, say


def init(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="The site's name; keep it when you set it up anew.")],
    vault: Annotated[str, typer.Option(help="Where the site's backup storage is: a folder.")],
    pool: Annotated[Path, typer.Option(help="Folder for the images of restored volumes.")],
    libvirt: Annotated[str, typer.Option(help="The hypervisor's address.")] = "qemu:///system",
    keys: Annotated[
        Path | None, typer.Option(envvar="DOZO_KEYS", help="The keys file; HOME/keys unless given.")
    ] = None,
    scratch: Annotated[
        Path | None, typer.Option(help="Folder for live snapshots' scratch; POOL/.scratch.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a site: its home with dozo.toml, its vault and its keys."""
    from dozo.services import accounts
    from dozo.services import site as sites

    plan = sites.plan_init(
        home=home_of(context),
        name=name,
        vault=vault,
        pool=pool,
        keys=keys,
        scratch=scratch,
        libvirt=libvirt,
    )
    made = sites.init(plan)
    with sites.opened(made.home) as site:
        operator = accounts.first_operator(site)
    password_file = operator.password_file if operator else None
    if as_json:
        print_json({**asdict(made), "operator_password_file": password_file})
        return
    print_facts(
        {
            "site": made.site,
            "home": str(made.home),
            "vault": made.vault + (" (was there already)" if made.vault_adopted else ""),
            "pool": str(made.pool),
            "keys": str(made.keys),
            "public key": made.public_key,
            "first operator": f"{accounts.FIRST_OPERATOR}, password in {password_file}",
        }
    )
    say(f"\nKeep a copy of {made.keys} in a safe place: without it the vault cannot be read.")


def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Check everything that this host needs, and say how to mend what is missing."""
    from dozo.services import doctor as checks

    results = checks.examine(home_of(context))
    if as_json:
        print_json(results)
    else:
        print_table(
            ["", "check", "result"],
            [[one.outcome.value, one.name, one.found] for one in results],
            empty="nothing to check",
        )
        for one in results:
            if one.mend:
                say(f"{one.name}: {one.mend}")
    raise typer.Exit(6 if any(one.outcome is checks.Outcome.MISSING for one in results) else 0)
