"""Fixtures: sites with a vault each; the database is the site's own, never pytest-django's."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dozo.services.site import Site

from . import domains
from .support import befriend, make_site, use_databases


@pytest.fixture(autouse=True)
def _catalogs_allowed(django_db_blocker: Any, new_database: Callable[[], str]) -> Iterator[None]:
    use_databases(new_database)
    with django_db_blocker.unblock():
        yield
    use_databases(str)


@pytest.fixture
def main(tmp_path: Path) -> Iterator[Site]:
    """A site without a hypervisor."""
    with make_site(tmp_path, "main") as site:
        yield site


@pytest.fixture
def dr(tmp_path: Path) -> Iterator[Site]:
    """Another one."""
    with make_site(tmp_path, "dr") as site:
        yield site


@pytest.fixture
def pair(main: Site, dr: Site) -> tuple[Site, Site]:
    """Both, as peers of each other."""
    befriend(main, dr)
    return main, dr


@pytest.fixture
def workspace(libvirt_host: object) -> Iterator[Any]:
    """A libvirt connection and a folder for images, both cleaned up."""
    with domains.workspace() as made:
        yield made


@pytest.fixture
def host_site(tmp_path: Path, workspace: Any) -> Iterator[Site]:
    """A site with the real hypervisor; its pool lies where QEMU's user may go."""
    with make_site(tmp_path, "main", libvirt="qemu:///system", pool=workspace[1] / "pool") as site:
        yield site
