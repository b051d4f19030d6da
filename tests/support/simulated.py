"""A simulated hypervisor for tests: servers with real images, no libvirt and no guest.

::

    def test_something(simulated: Simulation) -> None:
        simulated.host.add_server(NewServer(name="web"))
        simulated.host.start("web")
        site = make_site(tmp_path, "main", libvirt=simulated.uri)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dozo.hypervisor.simulated import SimulatedHost


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """A folder of simulated servers; ``uri`` is what a site's setting ``libvirt`` has to say."""

    uri: str
    host: SimulatedHost


def simulate(folder: Path) -> Simulation:
    """A simulation in a folder; also one that is there already."""
    uri = f"simulated://{folder}"
    return Simulation(uri=uri, host=SimulatedHost.connect(uri))


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[Simulation]:
    """A simulation of its own for a test, with no server yet."""
    made = simulate(tmp_path / "simulated")
    yield made
    made.host.close()
