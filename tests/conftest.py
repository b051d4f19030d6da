"""What every test may use. Guests: `support/guests.py`; PostgreSQL: `support/postgres.py`."""

import sys
from pathlib import Path

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
from .support.postgres import postgres_cluster, postgres_url

# No example is timed: how long it takes tells the load of the machine, not the quality of the code.
settings.register_profile("dozo", deadline=None)
settings.load_profile("dozo")

__all__ = [
    "built_images",
    "guest",
    "guest_factory",
    "libvirt_host",
    "module_guest",
    "module_guest_factory",
    "postgres_cluster",
    "postgres_url",
    "small_disk",
]
