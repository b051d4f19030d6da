"""The API while its PostgreSQL is away."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.services.support import make_site, use_databases

from .support import World, make_world


@pytest.fixture
def world(tmp_path: Path, own_cluster: Any) -> Iterator[World]:
    own_cluster.start()
    use_databases(own_cluster.create_database)
    try:
        with make_site(tmp_path, "main") as site:
            yield make_world(site)
    finally:
        use_databases(str)


def test_it_says_that_it_is_unavailable_and_goes_on_by_itself(
    world: World, own_cluster: Any
) -> None:
    before = world.get("/servers").json()
    for _time in range(2):
        own_cluster.stop()
        for path in ("/servers", "/jobs"):
            response = world.get(path)
            assert response.status_code == 503, response.text
            assert response.json()["code"] == "catalog.lost"
            assert response.json()["retry"] == "later"
            assert str(own_cluster.folder) not in response.text
        own_cluster.start()
        assert world.get("/servers").json() == before
