"""Hooks in the guest before and after a snapshot."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dozo.model.errors import DozoError, ErrorKind
from dozo.services.site import Site
from dozo.services.work import Work

if TYPE_CHECKING:
    from dozo.catalog import models


@dataclass(eq=False)
class HookUnknown(DozoError):
    """No hook has this name."""

    code = "hook.unknown"
    kind = ErrorKind.NOT_FOUND
    text = "there is no hook called {self.name!r}"
    hint = "An operator allows hooks in dozo.toml."
    name: str


@contextmanager
def around(
    site: Site,  # noqa: ARG001
    server: "models.Server",  # noqa: ARG001
    params: Mapping[str, Any],  # noqa: ARG001
    work: Work,  # noqa: ARG001
) -> Iterator[None]:
    """Run the block; nothing is allowed as a hook yet."""
    yield


def check_names(site: Site, names: Iterable[str]) -> None:  # noqa: ARG001
    """Raises :class:`HookUnknown` for whatever is named."""
    for name in names:
        if name:
            raise HookUnknown(name)
