"""`dozo overview`: how the site does, and what needs attention."""

import typer

from dozo.cli.client import client_of
from dozo.cli.output import AsJson, print_json, show_fields


def overview(context: typer.Context, as_json: AsJson = False) -> None:
    """Show how the site does: servers by protection, jobs, copies, what needs attention."""
    with client_of(context) as client:
        found = client.get("/overview")
    if as_json:
        print_json(found)
        return
    show_fields(found)
