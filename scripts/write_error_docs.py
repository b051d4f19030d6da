#!/usr/bin/env python3
"""Write docs/errors.md from the error classes; a test fails while the file is out of date."""

import importlib
import pkgutil
import re
import sys
from pathlib import Path

import dozo
from dozo.catalog.store import set_up_django
from dozo.cli.exits import EXIT_CODES
from dozo.model.errors import DozoError, ErrorKind, all_errors

PAGE = Path(__file__).parents[1] / "docs" / "errors.md"

HEAD = """\
# Errors

Every error that Dozo raises on purpose has a code that does not change, a message, and a hint
that says what to do next. With `--json` it is printed to standard error as

```json
{"error": "CODE", "kind": "…", "message": "…", "hint": "…", "retry": "never|later", "details": {…}}
```

The kind decides the exit code of the command line:

| exit code | kind | meaning |
|---|---|---|
| 0 | | done |
| 1 | failed | it was tried and did not work |
| 2 | usage | the command or its input cannot be right |
| 3 | not-found | what was named does not exist |
| 4 | refused | the state of things or a policy forbids it |
| 4 | unauthenticated | it is not known who asks |
| 4 | forbidden | whoever asks may not do that |
| 4 | throttled | it was tried too often lately |
| 5 | damaged | stored data are not what they were |
| 6 | unavailable | a component does not answer |

An interrupted command (Ctrl-C) exits with 130, a terminated one (SIGTERM) with 143. A wrong command
line has the code `cli.usage`; a defect in Dozo itself has `dozo.unexpected`, exits with 1 and names
the file with the details (`DOZO_DEBUG=1` prints them).

This page is written by `scripts/write_error_docs.py`. Names in braces are filled in.
"""


def load_everything() -> None:
    """Import every module of Dozo, so that all error classes are known."""
    set_up_django()
    for module in pkgutil.walk_packages(dozo.__path__, "dozo."):
        if not module.name.endswith(("__main__", "watchdog")) and ".migrations" not in module.name:
            importlib.import_module(module.name)


def page() -> str:
    """The whole page."""
    load_everything()
    parts = [HEAD]
    for kind in ErrorKind:
        found = [error for error in all_errors() if error.kind is kind and is_raised(error)]
        if not found:
            continue
        parts.append(f"\n## {kind.value} (exit code {EXIT_CODES[kind]})\n")
        parts.extend(entry(error) for error in found)
    return "\n".join(parts)


def is_raised(error: type[DozoError]) -> bool:
    """Whether an error is more than a base class of others."""
    return not error.__subclasses__() and error.__module__.startswith("dozo.")


def entry(error: type[DozoError]) -> str:
    """One error."""
    meaning = " ".join((error.__doc__ or "").split())
    lines = [f"### `{error.code}`", "", meaning, "", f"- Message: {template(error.text)}"]
    if error.hint:
        lines.append(f"- What to do: {template(error.hint)}")
    if error.retry.value == "later":
        lines.append("- Trying again later can help.")
    return "\n".join([*lines, ""])


def template(text: str) -> str:
    """A message with its fields in braces."""
    return re.sub(r"\{self\.(\w+)[^}]*\}", r"{\1}", text).replace("|", "\\|")


def main() -> int:
    """Write the page, or with ``--check`` only compare it."""
    wanted = page()
    if "--check" in sys.argv:
        return 0 if PAGE.exists() and PAGE.read_text() == wanted else 1
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
