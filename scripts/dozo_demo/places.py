"""Where the demo keeps what it makes; everything is named dozo-demo-…"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from guestlab.host import IMAGES

SHOP = "dozo-demo-shop"
SHOP_2 = "dozo-demo-shop-2"
SERVERS = (SHOP, SHOP_2)

STATE = Path("/var/lib")
MARKER = ".made-by-dozo-demo"
LOCK = Path("/run/lock/dozo-demo.lock")


@dataclass(frozen=True, kw_only=True)
class DemoSite:
    """A site of the demo. The vault has a folder of its own, as real backup storage has."""

    name: str

    @property
    def home(self) -> Path:
        """Settings, keys and catalog."""
        return STATE / f"dozo-demo-{self.name}"

    @property
    def vault(self) -> Path:
        """Backup storage."""
        return STATE / f"dozo-demo-{self.name}-vault"

    @property
    def pool(self) -> Path:
        """Images of restored volumes, where QEMU's user may read and write them."""
        return IMAGES / f"dozo-demo-{self.name}"


MAIN = DemoSite(name="main")
DR = DemoSite(name="dr")
ORIGINAL = IMAGES / "dozo-demo-original"
# Logs and process ids of the sites' services; not in a home, which can be lost.
SERVICES = STATE / "dozo-demo-services"

FOLDERS = (
    ORIGINAL,
    SERVICES,
    *(folder for site in (MAIN, DR) for folder in (site.home, site.vault, site.pool)),
)


class NotOurs(Exception):
    """Something has a name of the demo but was not made by it; it is left alone."""


def make_folder(path: Path) -> None:
    """A new folder that the clean-up will recognise."""
    path.mkdir(parents=True)
    path.chmod(0o711 if path.parent == IMAGES else 0o700)
    marker_of(path).touch()


def marker_of(path: Path) -> Path:
    """The file beside a folder that says who made it; inside, it would stand in a vault."""
    return path.parent / f"{path.name}{MARKER}"


def remove_folder(path: Path) -> int:
    """Remove a folder that the demo made; the bytes that it used. NotOurs if it did not."""
    if not path.exists():
        marker_of(path).unlink(missing_ok=True)
        return 0
    if not marker_of(path).exists():
        raise NotOurs(f"{path} was not made by the demo; move it away")
    used = used_bytes(path)
    shutil.rmtree(path)
    marker_of(path).unlink()
    return used


def used_bytes(path: Path) -> int:
    """What a folder's files occupy."""
    return sum(file.lstat().st_blocks * 512 for file in path.rglob("*") if file.is_file())
