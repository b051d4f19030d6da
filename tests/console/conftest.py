"""Fixtures: the API's world, seen by visitors of the console."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.api.support import World, make_world
from tests.services.support import make_site

from dozo.services.site import Site

from .support import Visitor


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


@pytest.fixture
def visitor(world: World) -> Callable[..., Visitor]:
    """A browser of somebody who has logged in: ``visitor("alice", language="ja")``."""

    def come(who: str | None, *, language: str = "en") -> Visitor:
        made = Visitor(world=world, language=language)
        if who is not None:
            made.enter(who)
        return made

    return come
