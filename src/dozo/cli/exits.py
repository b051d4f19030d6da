"""The one place where errors become exit codes and text on the terminal."""

import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dozo.cli.speech import language, told
from dozo.model import clock
from dozo.model.errors import DozoError, ErrorKind
from dozo.model.message import Message, said

if TYPE_CHECKING:
    from dozo.cli.client import ServiceProblem

EXIT_CODES: dict[ErrorKind, int] = {
    ErrorKind.FAILED: 1,
    ErrorKind.USAGE: 2,
    ErrorKind.NOT_FOUND: 3,
    ErrorKind.REFUSED: 4,
    ErrorKind.UNAUTHENTICATED: 4,
    ErrorKind.FORBIDDEN: 4,
    ErrorKind.THROTTLED: 4,
    ErrorKind.DAMAGED: 5,
    ErrorKind.UNAVAILABLE: 6,
}

INTERRUPTED = 130
TERMINATED = 143


class Terminated(BaseException):
    """SIGTERM, as an exception, so that every clean-up on the way out runs."""


def report(error: DozoError, *, as_json: bool) -> int:
    """Print an expected error to standard error and return its exit code."""
    _print(
        {
            "error": error.code,
            "kind": error.kind.value,
            "message": error.message(language()),
            "hint": error.hint_text(language()),
            "retry": error.retry.value,
            "details": error.details(),
        },
        as_json=as_json,
    )
    return EXIT_CODES[error.kind]


def report_problem(problem: "ServiceProblem", *, as_json: bool) -> int:
    """Print an error that the service answered with, like one of our own; its exit code."""
    _print(
        {
            "error": problem.code,
            "kind": problem.kind.value,
            "message": str(problem),
            "hint": problem.hint,
            "retry": problem.retry,
            "details": problem.details,
        },
        as_json=as_json,
    )
    return EXIT_CODES[problem.kind]


def report_usage(message: str, hint: str, *, as_json: bool) -> int:
    """Print what is wrong with the command line and return the exit code for it."""
    _print(
        {"error": "cli.usage", "kind": "usage", "message": message, "hint": hint}, as_json=as_json
    )
    return EXIT_CODES[ErrorKind.USAGE]


def report_unexpected(error: BaseException, *, as_json: bool) -> int:
    """Print a short message for a defect; the trace goes to a file, or with DOZO_DEBUG here."""
    if os.environ.get("DOZO_DEBUG"):
        traceback.print_exception(error)
    _print(
        {
            "error": "dozo.unexpected",
            "kind": ErrorKind.FAILED.value,
            "message": Message(
                "unexpected {name}: {error}", name=type(error).__name__, error=error
            ),
            "hint": Message(
                "This is a defect in Dozo; the details are in {file}.", file=_trace_file(error)
            ),
        },
        as_json=as_json,
    )
    return EXIT_CODES[ErrorKind.FAILED]


def _trace_file(error: BaseException) -> Path:
    descriptor, name = tempfile.mkstemp(prefix="dozo-error-", suffix=".log")
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{clock.to_text(clock.now())} {' '.join(sys.argv)}\n")
        traceback.print_exception(error, file=file)
    return Path(name)


def _print(problem: dict[str, Any], *, as_json: bool) -> None:
    problem = said(problem, language())
    if as_json:
        sys.stderr.write(json.dumps(problem, default=str) + "\n")
        return
    sys.stderr.write(told(Message("error: {message}", message=problem["message"])) + "\n")
    if problem.get("hint"):
        sys.stderr.write(f"  {told(problem['hint'])}\n")
