"""Asking whether it is meant, before what cannot be taken back."""

import sys

import typer

from dozo.cli.errors import CountUnconfirmed, Unconfirmed
from dozo.cli.speech import told
from dozo.model.message import Message


def confirmed(what: str, name: str, *, yes: bool) -> None:
    """Ask for the name of what is to go, unless ``yes``. Raises ``Unconfirmed``."""
    if yes:
        return
    if not _can_ask():
        raise Unconfirmed(what)
    answer: str = typer.prompt(
        told(Message("{what} cannot be taken back; type its name", what=what)), err=True
    )
    if answer.strip() != name:
        raise Unconfirmed(what)


def confirmed_count(count: int, what: str, *, yes: bool) -> int:
    """Ask for the number, where it is more than one; the number. Raises ``CountUnconfirmed``."""
    if yes or count <= 1:
        return count
    if not _can_ask():
        raise CountUnconfirmed(count, what)
    answer: str = typer.prompt(
        told(Message("{count} {what} will be deleted; type the number", count=count, what=what)),
        err=True,
    )
    if answer.strip() != str(count):
        raise CountUnconfirmed(count, what)
    return count


def _can_ask() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()
