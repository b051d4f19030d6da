"""Fixtures: a site with two tenants, people of every role, and the API in front of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.services.support import make_site

from dozo.services.site import Site

from .support import World, make_world


@pytest.fixture(autouse=True)
def _catalogs_allowed(django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with make_site(tmp_path, "main") as site:
        yield site


@pytest.fixture
def world(site: Site) -> World:
    return make_world(site)
