"""Fixtures: homes of sites without a hypervisor."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dozo.services import accounts
from dozo.services import site as sites
from dozo.services.site import Site

NO_LIBVIRT = "qemu+unix:///system?socket=/nonexistent/libvirt-sock"


def make_site(folder: Path, name: str) -> Site:
    """A new site without a hypervisor, everything of it under ``folder / name``."""
    here = folder / name
    sites.init(
        sites.plan_init(
            home=here / "home",
            name=name,
            vault=str(here / "vault"),
            pool=here / "pool",
            libvirt=NO_LIBVIRT,
        )
    )
    return Site.open(here / "home")


@pytest.fixture(autouse=True)
def _catalogs_allowed(django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A site's home; its vault is empty."""
    with make_site(tmp_path, "main") as site:
        accounts.first_operator(site)
        return site.settings.home
