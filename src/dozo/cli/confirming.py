"""Asking whether it is meant, before what cannot be taken back."""

import sys

import typer

from dozo.cli.errors import CountUnconfirmed, Unconfirmed


def confirmed(what: str, name: str, *, yes: bool) -> None:
    """Ask for the name of what is to go, unless ``yes``. Raises ``Unconfirmed``."""
    if yes:
        return
    if not _can_ask():
        raise Unconfirmed(f"{what} {name}")
    answer: str = typer.prompt(f"{what} {name} cannot be taken back; type its name", err=True)
    if answer.strip() != name:
        raise Unconfirmed(f"{what} {name}")


def confirmed_count(count: int, what: str, *, yes: bool) -> int:
    """Ask for the number, where it is more than one; the number. Raises ``CountUnconfirmed``."""
    if yes or count <= 1:
        return count
    if not _can_ask():
        raise CountUnconfirmed(count, what)
    answer: str = typer.prompt(f"{count} {what} will be deleted; type the number", err=True)
    if answer.strip() != str(count):
        raise CountUnconfirmed(count, what)
    return count


def _can_ask() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()
