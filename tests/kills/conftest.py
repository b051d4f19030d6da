"""Fixtures: a pair of sites for a module, and the sweep over every point."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.services.support import befriend, make_site

from .world import World


@pytest.fixture(scope="module")
def catalogs(django_db_blocker: Any) -> Iterator[None]:
    """The sites' own databases may be used."""
    with django_db_blocker.unblock():
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, catalogs: None) -> Iterator[World]:
    """Two sites without a hypervisor; `main` is served, by a service that can be told to die."""
    folder = tmp_path_factory.mktemp("kills")
    with make_site(folder, "main") as main, make_site(folder, "dr") as dr:
        befriend(main, dr)
        made = World(folder=folder, main=main, dr=dr)
        yield made
        made.end()
