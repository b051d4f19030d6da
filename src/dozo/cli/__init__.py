"""The command line: reads arguments, calls a service, shows the result. No rule lives here."""

import sys


def main() -> None:
    """The entry point of ``dozo``."""
    from dozo.cli.app import run

    sys.exit(run(sys.argv[1:]))
