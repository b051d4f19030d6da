"""What every test may use. Guests: `support/guests.py`; PostgreSQL: `support/postgres.py`."""

import sys
from pathlib import Path

# The guest builder serves the demo too, so it lives with the scripts.
sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from .support.guests import (
    built_images,
    guest,
    guest_factory,
    libvirt_host,
    module_guest,
    module_guest_factory,
)
from .support.postgres import postgres_cluster, postgres_url

__all__ = [
    "built_images",
    "guest",
    "guest_factory",
    "libvirt_host",
    "module_guest",
    "module_guest_factory",
    "postgres_cluster",
    "postgres_url",
]
