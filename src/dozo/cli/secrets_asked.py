"""Passwords: asked for without an echo, or read from standard input; never an argument."""

import sys
from typing import Annotated

import typer

from dozo.cli.speech import told
from dozo.model.message import Message

PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]


def password(text: str, *, from_stdin: bool) -> str:
    """A password that exists already."""
    if from_stdin:
        return _line()
    if not sys.stdin.isatty():
        raise typer.BadParameter(
            Message("no terminal to ask for the password: use --password-stdin")
        )
    answer: str = typer.prompt(told(text), hide_input=True, err=True)
    return answer


def new_password(*, from_stdin: bool) -> str:
    """A new password, asked for twice."""
    if from_stdin:
        return _line()
    if not sys.stdin.isatty():
        raise typer.BadParameter(
            Message("no terminal to ask for the password: use --password-stdin")
        )
    answer: str = typer.prompt(
        told(Message("New password")),
        hide_input=True,
        err=True,
        confirmation_prompt=told(Message("Once more")),
    )
    return answer


def _line() -> str:
    found = sys.stdin.readline().rstrip("\r\n")
    if not found:
        raise typer.BadParameter(Message("standard input holds no password"))
    return found
