"""What kind of error a code stands for."""

import functools
import importlib
import pkgutil
from contextlib import suppress

from dozo.model.errors import ErrorKind, all_errors

# Packages in which no error can be that a service answers with.
_ELSEWHERE = ("dozo.cli", "dozo.daemon", "dozo.api", "dozo.console")


def kind_of(code: str) -> ErrorKind:
    """The kind of the error with that code; *failed* where this version does not know it."""
    return _kinds().get(code, ErrorKind.FAILED)


@functools.cache
def _kinds() -> dict[str, ErrorKind]:
    """Every error's kind. Loads most of Dozo: only for somebody who has to show an error."""
    import dozo
    from dozo.catalog.store import set_up_django

    set_up_django()
    for module in pkgutil.walk_packages(dozo.__path__, "dozo.", onerror=lambda _name: None):
        if module.name.startswith(_ELSEWHERE) or ".migrations" in module.name:
            continue
        if module.name.endswith(("__main__", "watchdog")):
            continue
        # A host without a hypervisor lacks libvirt's and libnbd's bindings.
        with suppress(ImportError):
            importlib.import_module(module.name)
    return {error.code: error.kind for error in all_errors()}
