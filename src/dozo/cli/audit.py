"""`dozo audit …`: who did what, and what was refused."""

from pathlib import Path
from typing import Annotated

import typer

from dozo.cli.client import client_of
from dozo.cli.files import new_file
from dozo.cli.output import AsJson, cell, print_json, print_table, say, show_one, when
from dozo.cli.speech import shown
from dozo.cli.times import text_of

app = typer.Typer(help="The audit trail: who did what, and what was refused.", no_args_is_help=True)

Since = Annotated[str | None, typer.Option(help="At or after this time.")]
Until = Annotated[str | None, typer.Option(help="Before this time.")]


@app.command("list")
def list_(
    context: typer.Context,
    actor: Annotated[str | None, typer.Option(help="Only what this one did: user:alice.")] = None,
    operation: Annotated[str | None, typer.Option(help="Such as snapshot.delete.")] = None,
    outcome: Annotated[str | None, typer.Option(help="done, refused or failed.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(help="How many at most, newest first.", min=1)] = 50,
    as_json: AsJson = False,
) -> None:
    """List entries, newest first."""
    with client_of(context) as client:
        rows = list(
            client.pages(
                "/audit",
                most=limit,
                actor=actor,
                operation=operation,
                outcome=outcome,
                since=text_of(since) if since else None,
                until=text_of(until) if until else None,
            )
        )
    if as_json:
        print_json(rows)
        return
    print_table(
        ["at", "who", "did", "to", "outcome", "detail"],
        [
            [
                when(row["at"]),
                row["actor"],
                row["operation"],
                f"{row['object_kind']} {row['object_name'] or row['object_id']}".strip() or "-",
                shown("outcome", row["outcome"]),
                cell(row["detail"]),
            ]
            for row in rows
        ],
        empty="no entries",
    )


@app.command()
def export(
    context: typer.Context,
    out: Annotated[
        Path | None, typer.Option(help="The file to write; standard output unless given.")
    ] = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Write the trail as JSON lines; keep it elsewhere, and it shows later forgery."""
    with client_of(context) as client:
        lines = client.text(
            "/audit/export",
            since=text_of(since) if since else None,
            until=text_of(until) if until else None,
        )
        if out is None:
            for line in lines:
                say(line)
            return
        with new_file(out) as file:
            for line in lines:
                file.write(f"{line}\n".encode())


@app.command()
def verify(context: typer.Context, as_json: AsJson = False) -> None:
    """Check that no entry was changed, removed or put in between."""
    with client_of(context) as client:
        found = client.get("/audit/verify")
    show_one(found, as_json=as_json)
