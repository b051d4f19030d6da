#!/usr/bin/env python3
"""Write into docs/walkthrough.md what its commands print; needs what its test needs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.docs import walkthrough


def main() -> int:
    """Follow the page; where it shows something else than what was printed, write that."""
    with walkthrough.surroundings() as shell:
        wrong, page = walkthrough.differences(walkthrough.PAGE.read_text(), shell)
    walkthrough.PAGE.write_text(page)
    for one in wrong:
        print(one, end="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
