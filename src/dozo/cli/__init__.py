"""The command line: reads arguments, calls a service, shows the result. No rule lives here."""

import sys


def main() -> None:
    """The entry point of ``dozo``."""
    from dozo.cli.app import run  # noqa: PLC0415  keeps `import dozo.cli` free of typer

    sys.exit(run(sys.argv[1:]))
