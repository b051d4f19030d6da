"""The command line: reads arguments, asks the service by its API, shows the result."""

import sys


def main() -> None:
    """The entry point of ``dozo``."""
    from dozo.cli.app import run

    sys.exit(run(sys.argv[1:]))
