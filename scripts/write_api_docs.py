#!/usr/bin/env python3
"""Write the tables of docs/api.md from the API itself; a test fails while they are out of date."""

import json
import sys
from pathlib import Path
from typing import Any

from dozo.catalog.store import set_up_django

set_up_django()

from dozo.api.root import description  # noqa: E402  needs Django

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
MARK = "<!-- The rest is written by scripts/write_api_docs.py. -->\n"


def tables() -> str:
    """One table a group of operations."""
    groups: dict[str, list[str]] = {}
    for path, operations in json.loads(description())["paths"].items():
        for method, operation in operations.items():
            groups.setdefault(operation["tags"][0], []).append(row(method, path, operation))
    head = "| operation | right | what it does |\n|---|---|---|\n"
    return "".join(f"\n### {name}\n\n{head}" + "".join(rows) for name, rows in groups.items())


def row(method: str, path: str, operation: dict[str, Any]) -> str:
    """One operation."""
    says = operation["description"].split("\n")[0]
    kind = " *Job.*" if "202" in operation["responses"] else ""
    address = f"{method.upper()} {path.removeprefix('/api/v1')}"
    return f"| `{address}` | `{operation['x-dozo-operation']}` | {says}{kind} |\n"


def page() -> str:
    """The whole page: what people wrote, and the tables."""
    return PAGE.read_text().partition(MARK)[0] + MARK + tables()


def main() -> int:
    """Write the page, or with ``--check`` only compare it."""
    wanted = page()
    if "--check" in sys.argv:
        return 0 if PAGE.read_text() == wanted else 1
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
