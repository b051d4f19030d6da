"""`dozo job …`: what the service does, did and will do."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from dozo.cli import following
from dozo.cli.client import at, client_of
from dozo.cli.output import (
    AsJson,
    finish,
    listed,
    print_facts,
    print_json,
    print_table,
    say,
    short,
    size,
    span,
    when,
)
from dozo.cli.speech import shown
from dozo.model.message import Message

app = typer.Typer(help="Jobs: long work, under way or over.", no_args_is_help=True)

JobArgument = Annotated[str, typer.Argument(help="The id, or its beginning.")]


@app.command("list")
def list_(
    context: typer.Context,
    state: Annotated[
        str | None,
        typer.Option(
            help="queued, waiting, running, cancelling, done, failed, cancelled or interrupted."
        ),
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Such as snapshot.create.")] = None,
    limit: Annotated[int, typer.Option(help="How many at most, newest first.", min=1)] = 50,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with client_of(context) as client:
        rows = list(client.pages("/jobs", most=limit, state=state, kind=kind))
    if as_json:
        print_json(rows)
        return
    print_table(
        ["job", "what", "state", "asked for", "by", "took"],
        [
            [
                short(row["job"]),
                row["title"],
                _state(row),
                when(row["created_at"]),
                row["actor"],
                _took(row),
            ]
            for row in rows
        ],
        empty=Message("no jobs"),
    )


@app.command()
def show(context: typer.Context, job: JobArgument, as_json: AsJson = False) -> None:
    """Show a job: its state, how far it is, what came of it."""
    with client_of(context) as client:
        row = client.get(at("jobs", job))
    if as_json:
        print_json(row)
        return
    print_facts(
        {
            "job": row["job"],
            "what": row["title"],
            "kind": row["kind"],
            "state": _state(row),
            "asked for": Message("{at} by {actor}", at=when(row["created_at"]), actor=row["actor"]),
            "begun": when(row["started_at"]),
            "over": when(row["finished_at"]),
            "took": _took(row),
            "attempt": str(row["attempt"]),
            "step": row["step"] or "-",
            "bytes": Message(
                "{done} of {total}", done=size(row["bytes_done"]), total=size(row["bytes_total"])
            ),
            "left": span(row["seconds_left"]),
            "waits for": listed(row["waits_for"]),
        }
    )
    if row["error"]:
        say(Message("error: {error} ({code})", error=row["error"], code=row["error_code"]))
    if row["hint"]:
        say(f"  {row['hint']}")


@app.command()
def log(context: typer.Context, job: JobArgument, as_json: AsJson = False) -> None:
    """Show what a job said."""
    with client_of(context) as client:
        lines = client.everything(at("jobs", job, "log"))
    if as_json:
        print_json(lines)
        return
    for one in lines:
        say(f"{when(one['at'])}  {one['text']}")


@app.command()
def follow(context: typer.Context, job: JobArgument, as_json: AsJson = False) -> None:
    """Follow a job to its end; the exit code tells how it ended."""
    with client_of(context) as client:
        row = client.get(at("jobs", job))
        following.follow(client, row["job"], as_json=as_json)
        row = client.get(at("jobs", row["job"]))
    finish(
        row,
        Message("{what}: {state}", what=row["title"], state=shown("job", row["state"])),
        as_json=as_json,
    )


@app.command()
def cancel(context: typer.Context, job: JobArgument, as_json: AsJson = False) -> None:
    """Cancel a job: at once if it has not begun, else as soon as it can clean up."""
    with client_of(context) as client:
        row = client.get(at("jobs", job))
        client.post(at("jobs", row["job"], "cancel"))
        row = client.get(at("jobs", row["job"]))
    finish(
        row,
        Message("{what}: {state}", what=row["title"], state=shown("job", row["state"])),
        as_json=as_json,
    )


def _state(row: Mapping[str, Any]) -> str:
    place = row.get("place_in_queue")
    stuck = Message(" (stuck)") if row.get("stuck_since") else ""
    number = Message(" (number {place})", place=place) if place else ""
    return shown("job", row["state"]) + number + stuck


def _took(row: Mapping[str, Any]) -> str:
    from datetime import datetime

    if not row["started_at"] or not row["finished_at"]:
        return "-"
    begun, over = (datetime.fromisoformat(row[one]) for one in ("started_at", "finished_at"))
    return span((over - begun).total_seconds())
