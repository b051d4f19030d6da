"""What every test may use. Guests: `support/guests.py`; PostgreSQL: `support/postgres.py`."""

import sys
from pathlib import Path

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher
from hypothesis import settings

# The guest builder serves the demo too, so it lives with the scripts.
sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from .support.disks import small_disk
from .support.guests import (
    built_images,
    guest,
    guest_factory,
    libvirt_host,
    module_guest,
    module_guest_factory,
)
from .support.postgres import (
    catalog_databases,
    catalog_template,
    new_database,
    own_cluster,
    postgres_cluster,
    postgres_url,
    pytest_generate_tests,
)
from .support.simulated import simulated

# No example is timed: how long it takes tells the load of the machine, not the quality of the code.
settings.register_profile("dozo", deadline=None)
settings.load_profile("dozo")


# A password is hashed as it is in earnest, but for less time: hundreds of tests make users.
Argon2PasswordHasher.time_cost = 1
Argon2PasswordHasher.memory_cost = 64


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Whatever uses the host's libvirt is marked so: such tests cannot share it with each other."""
    if not config.getoption("--kills"):
        sweeps = [item for item in items if item.get_closest_marker("sweep")]
        config.hook.pytest_deselected(items=sweeps)
        items[:] = [item for item in items if item not in sweeps]
    # What kills libvirt itself comes last: the run's own connections do not outlive it.
    items.sort(key=lambda item: bool(item.get_closest_marker("libvirtd")))
    for item in items:
        uses = "libvirt_host" in getattr(item, "fixturenames", ())
        if uses and not item.get_closest_marker("guest"):
            item.add_marker(pytest.mark.libvirt)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The test run's own options."""
    parser.addoption(
        "--kills", action="store_true", help="kill jobs at every point, for about an hour"
    )
    parser.addoption(
        "--postgres", action="store_true", help="keep every site's catalog in PostgreSQL"
    )


__all__ = [
    "built_images",
    "catalog_databases",
    "catalog_template",
    "guest",
    "guest_factory",
    "libvirt_host",
    "module_guest",
    "module_guest_factory",
    "new_database",
    "own_cluster",
    "postgres_cluster",
    "postgres_url",
    "pytest_generate_tests",
    "simulated",
    "small_disk",
]
