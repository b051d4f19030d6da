"""`dozo overview`: how the site does, and what needs attention."""

from collections.abc import Mapping

import typer

from dozo.cli.client import client_of
from dozo.cli.output import AsJson, listed, print_facts, print_json, print_table, say, when
from dozo.cli.speech import shown
from dozo.model.message import Message


def overview(context: typer.Context, as_json: AsJson = False) -> None:
    """Show how the site does: servers by protection, jobs, copies, what needs attention."""
    with client_of(context) as client:
        found = client.get("/overview")
    if as_json:
        print_json(found)
        return
    print_facts(
        {
            "site": found["site"],
            "servers": _counts("protection", found["servers"]),
            "volumes, snapshots": f"{found['volumes']}, {found['snapshots']}",
            "schedules": str(found["schedules"]),
            "jobs of the last day": _counts("job", found["jobs"]),
            **{
                Message("copies at {site}", site=site): _counts("copy", states)
                for site, states in found["copies"].items()
            },
        }
    )
    say("")
    print_table(
        ["needs attention", "name", "because", "since"],
        [
            [shown("object", one["kind"]), one["name"], one["text"], when(one["since"])]
            for one in found["attention"]
        ],
        empty=Message("nothing needs attention"),
    )


def _counts(kind: str, states: Mapping[str, int]) -> str:
    return listed(
        Message("{count} {state}", count=count, state=shown(kind, state))
        for state, count in states.items()
        if count
    )
