"""What a guest consists of, and the name under which its images are cached."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
GIB = 1 << 30

PACKAGES_COMMON = (
    "busybox-static",
    "ca-certificates",
    "cron",
    "curl",
    "dbus",
    "kmod",
    "nfs-kernel-server",
    "postgresql",
    "qemu-guest-agent",
    "systemd-sysv",
    "udev",
)
KERNEL_PACKAGE = {"debian": "linux-image-cloud-amd64", "ubuntu": "linux-image-virtual"}

# The host's documentation and translations stay out, and so do drivers for hardware that no
# virtual machine has: a smaller guest is built, copied and snapshotted sooner.
DPKG_EXCLUDES = (
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/lib/*/libLLVM*",
    "/usr/lib/llvm-*",
    "/usr/lib/postgresql/*/lib/bitcode/*",
    "/usr/lib/postgresql/*/lib/llvmjit*",
    "/lib/modules/*/kernel/drivers/gpu/*",
    "/lib/modules/*/kernel/drivers/infiniband/*",
    "/lib/modules/*/kernel/drivers/media/*",
    "/lib/modules/*/kernel/drivers/net/ethernet/*",
    "/lib/modules/*/kernel/drivers/net/wireless/*",
    "/lib/modules/*/kernel/sound/*",
    # Our own initrd replaces the distribution's, which takes long to make and to boot.
    "/etc/kernel/postinst.d/initramfs-tools",
)


@dataclass(frozen=True, kw_only=True)
class HostRelease:
    """The distribution of this host, which is the guest's too."""

    name: str
    codename: str

    @classmethod
    def read(cls, path: Path = Path("/etc/os-release")) -> "HostRelease":
        """The values of os-release; KeyError when it has no codename."""
        pairs = (line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
        values = {key: value.strip('"') for key, value in pairs}
        return cls(name=values["ID"], codename=values["VERSION_CODENAME"])


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides what the images contain."""

    release: HostRelease
    root_bytes: int = 3 * GIB
    data_bytes: int = 2 * GIB
    boot_bytes: int = 32 << 20
    pgbench_scale: int = 5

    @property
    def packages(self) -> tuple[str, ...]:
        """Package names; KeyError for a distribution that nobody has tried."""
        return (*PACKAGES_COMMON, KERNEL_PACKAGE[self.release.name])

    @property
    def key(self) -> str:
        """Twelve hex digits that change whenever the images would."""
        digest = hashlib.sha256()
        digest.update(repr((self, self.packages, DPKG_EXCLUDES)).encode())
        for path in sorted(
            [*HERE.glob("guest/*"), HERE / "prepare.sh", HERE / "customize.sh", HERE / "build.py"]
        ):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()[:12]


def cache_folder() -> Path:
    """Where built images are kept between runs."""
    return Path(os.environ.get("DOZO_GUEST_CACHE", "/var/cache/dozo/guests"))
