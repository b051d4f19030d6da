"""Which site a command works on: a home on this host, or a profile."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from dozo.services.site import Site


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What the options before the command said."""

    home: Path | None = None
    profile: str | None = None


def chosen(context: typer.Context) -> Chosen:
    """What was chosen on the command line or in the environment."""
    found: Chosen | None = context.find_root().obj
    return found or Chosen()


def home_of(context: typer.Context) -> Path:
    """The home that was named, or the default one."""
    from dozo.services.settings import default_home

    return chosen(context).home or default_home()


@contextmanager
def site_of(context: typer.Context) -> "Iterator[Site]":
    """The site itself, for the few commands that work without the service."""
    from dozo.services.site import opened

    with opened(home_of(context)) as site:
        yield site
