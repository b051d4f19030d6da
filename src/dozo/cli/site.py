"""`dozo site …`: this site, its peers, and bringing things back."""

from typing import TYPE_CHECKING, Annotated

import typer

from dozo.cli.opened import site_of
from dozo.cli.output import AsJson, print_facts, print_json, print_table, progress, say, short, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dozo.services.replicate import RebuildPlan
    from dozo.services.snapshots import Verified

app = typer.Typer(help="Sites.", no_args_is_help=True)

Verify = Annotated[
    bool, typer.Option("--verify/--no-verify", help="Read back what nobody has read back here.")
]


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List this site and its peers."""
    from dozo.services import replicate

    with site_of(context) as site:
        rows = replicate.list_sites(site)
    if as_json:
        print_json(rows)
        return
    print_table(
        ["site", "", "vault", "copies"],
        [
            [
                row.site,
                row.role,
                row.vault,
                ", ".join(f"{count} {state}" for state, count in sorted(row.copies.items())) or "-",
            ]
            for row in rows
        ],
        empty="no sites",
    )


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
    from dozo.services.site import add_peer as add

    with site_of(context, changes=True) as site:
        peer = add(site, name=name, vault=vault, public_key=public_key, replace=replace)
    if as_json:
        print_json(peer)
    else:
        say(f"peer {peer.name}: its site can read what is stored here from now on")


@app.command()
def sync(context: typer.Context, verify: Verify = True, as_json: AsJson = False) -> None:
    """Bring the catalog in step with vault, hypervisor and peers; verify what is new."""
    from dozo.services import replicate

    with site_of(context, changes=True) as site, progress(as_json=as_json) as work:
        done = replicate.sync(site, verify=verify, work=work)
    if as_json:
        print_json(done)
    else:
        print_facts(
            {
                "snapshots": str(done.catalog.snapshots),
                "templates": str(done.catalog.templates),
                "not readable here": str(done.catalog.unreadable),
                "verified now": str(len(done.verified)),
                "hypervisor": done.inventory,
                **{f"peer {name}": state for name, state in done.peers.items()},
            }
        )
    _exit_on_damage(done.verified)


@app.command()
def rebuild(
    context: typer.Context,
    source: Annotated[str, typer.Option("--from", help="The peer to rebuild from.")] = "",
    verify: Verify = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan only.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fill this site's vault from a peer's, then its catalog; may be interrupted and repeated."""
    from dozo.services import replicate

    with site_of(context, changes=not dry_run) as site, progress(as_json=as_json) as work:
        plan = replicate.plan_rebuild(site, replicate.peer_or_only(site, source))
        if dry_run:
            _show_plan(plan, as_json=as_json)
            return
        done = replicate.rebuild(site, plan, verify=verify, work=work)
    if as_json:
        print_json(done)
    else:
        print_facts(
            {
                "from": done.source,
                "snapshots before": str(done.snapshots_before),
                "snapshots now": str(done.snapshots_after),
                "copied": f"{size(done.bytes_copied)} in {done.seconds:.1f} s",
                "not readable here": str(done.catalog.unreadable),
                "verified now": str(len(done.verified)),
            }
        )
        for one in done.verified:
            say(f"  {short(one.snapshot)} {one.name}: {one.state}")
    _exit_on_damage(done.verified)


@app.command("rebuild-catalog")
def rebuild_catalog(context: typer.Context, as_json: AsJson = False) -> None:
    """Make the catalog anew from this site's vault alone."""
    from dozo.services import project

    with site_of(context, changes=True) as site:
        done = project.rebuild(site)
    if as_json:
        print_json(done)
    else:
        print_facts(
            {
                "snapshots": str(done.snapshots),
                "templates": str(done.templates),
                "recovery points": str(done.recovery_points),
                "deleted": str(done.deleted),
                "not readable here": str(done.unreadable),
            }
        )


def _show_plan(plan: "RebuildPlan", *, as_json: bool) -> None:
    if as_json:
        print_json(plan)
        return
    say(
        f"{len(plan.snapshots_missing)} snapshots are missing here,"
        f" of volumes of {size(plan.bytes_volume_missing)} altogether"
    )


def _exit_on_damage(verified: "Sequence[Verified]") -> None:
    if any(one.damage for one in verified):
        raise typer.Exit(5)
