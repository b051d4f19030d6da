"""The site that a command works on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from dozo.services.site import Site


def home_of(context: typer.Context) -> "Path":
    """The home that was named, or the default one."""
    from dozo.services.settings import default_home

    given: Path | None = context.find_root().obj
    return given or default_home()


@contextmanager
def site_of(context: typer.Context, *, changes: bool = False) -> "Iterator[Site]":
    """The site, opened; with ``changes``, after cleaning up what a killed process left."""
    from dozo.services import leftovers
    from dozo.services.site import opened

    with opened(home_of(context)) as site:
        if changes:
            for line in leftovers.clean(site).lines:
                typer.echo(f"note: {line}", err=True)
        yield site
