"""Fixtures: every rule runs under both presets, on sites whose jobs the test drives by hand."""

from collections.abc import Iterator

import pytest
from tests.services.conftest import _catalogs_allowed, dr, host_site, main, pair, workspace
from tests.services.jobs import Service, Shifted

from dozo.model import clock
from dozo.services import retain
from dozo.services.site import Site

__all__ = ["_catalogs_allowed", "dr", "host_site", "main", "pair", "workspace"]


@pytest.fixture(params=["kcps-v1", "modern"])
def preset(request: pytest.FixtureRequest) -> str:
    """The name of the preset that the tenant has."""
    return str(request.param)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shifted]:
    """A clock that the test can put forward; what retention noted of another clock is forgotten."""
    monkeypatch.setattr(retain, "_noted", retain._Noted())
    shifted = Shifted()
    with clock.use_clock(shifted):
        yield shifted


@pytest.fixture
def service(main: Site, preset: str) -> Service:
    """A site without a hypervisor, its tenant under the preset."""
    made = Service(main)
    made.policy(preset)
    return made


@pytest.fixture
def host(host_site: Site, preset: str) -> Service:
    """A site with the real hypervisor, its tenant under the preset."""
    made = Service(host_site)
    made.policy(preset)
    return made
