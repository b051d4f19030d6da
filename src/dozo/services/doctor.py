"""What a host and a site need, checked one by one, each with how to mend it."""

import contextlib
import importlib.util
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from dozo import hypervisor
from dozo.model import clock
from dozo.model.errors import DozoError
from dozo.services import notes
from dozo.services import settings as site_settings
from dozo.services.settings import Peer, Settings
from dozo.services.site import Site

_KVM_SECONDS = 5.0
_LITTLE_SPACE_BYTES = 5 * 1024**3
_PROGRAM_SECONDS = 20


class Outcome(StrEnum):
    """How a check ended: *warning* works, but not as well as it could."""

    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check; ``mend`` says what to do, empty where nothing is needed."""

    name: str
    outcome: Outcome
    found: str
    mend: str = ""


def examine(home: Path) -> list[Finding]:
    """Check the host, and the site in ``home`` if there is one. Changes nothing, raises nothing."""
    return [*_examine_host(home), *_examine_site(home)]


def _ok(name: str, found: str) -> Finding:
    return Finding(name=name, outcome=Outcome.OK, found=found)


def _warning(name: str, found: str, mend: str) -> Finding:
    return Finding(name=name, outcome=Outcome.WARNING, found=found, mend=mend)


def _missing(name: str, found: str, mend: str) -> Finding:
    return Finding(name=name, outcome=Outcome.MISSING, found=found, mend=mend)


def _examine_host(home: Path) -> Iterator[Finding]:
    yield _program("qemu-img", "apt install qemu-utils")
    yield _program("qemu-nbd", "apt install qemu-utils")
    yield _program("qemu-system-x86_64", "apt install qemu-system-x86")
    for module, package in (("libvirt", "python3-libvirt"), ("nbd", "python3-libnbd")):
        yield _binding(module, package)
    yield _kvm()
    yield _clock()
    yield from _hypervisor(home)


def _program(name: str, mend: str) -> Finding:
    path = shutil.which(name)
    if path is None:
        return _missing(name, "not installed", mend)
    answer = subprocess.run(
        [path, "--version"], capture_output=True, text=True, check=False, timeout=_PROGRAM_SECONDS
    )
    return _ok(name, (answer.stdout.splitlines() or ["no version"])[0])


def _binding(module: str, package: str) -> Finding:
    name = f"Python module {module}"
    if importlib.util.find_spec(module) is None:
        return _missing(
            name,
            "not found",
            f"apt install {package}; the virtual environment needs --system-site-packages",
        )
    return _ok(name, "found")


def _kvm() -> Finding:
    if hypervisor.kvm_works(timeout_s=_KVM_SECONDS):
        return _ok("KVM", "a probe ran under it")
    return _warning(
        "KVM",
        "does not work here; servers run under emulation, many times slower",
        "Load kvm_intel or kvm_amd, and allow nested virtualisation where this host is a guest.",
    )


def _clock() -> Finding:
    program = shutil.which("timedatectl")
    answer = ""
    if program is not None:
        answer = subprocess.run(
            [program, "show", "--property=NTPSynchronized", "--value"],
            capture_output=True,
            text=True,
            check=False,
            timeout=_PROGRAM_SECONDS,
        ).stdout.strip()
    if answer == "yes":
        return _ok("clock", "synchronised")
    return _warning(
        "clock",
        "not synchronised" if answer == "no" else "nothing says whether it is synchronised",
        "Run a time service (systemd-timesyncd, chrony): snapshots carry this host's time.",
    )


def _hypervisor(home: Path) -> Iterator[Finding]:
    uri = hypervisor.DEFAULT_URI
    with contextlib.suppress(DozoError):
        uri = site_settings.load(home).libvirt
    try:
        with contextlib.closing(hypervisor.connect(uri)) as host:
            servers = host.servers()
            if host.simulated:
                yield _warning(
                    "hypervisor",
                    f"{uri} is simulated, with {len(servers)} servers: no real server is protected",
                    "For real servers set `libvirt` under [hypervisor] in dozo.toml.",
                )
                return
            yield _ok("libvirt", f"{uri}: {len(servers)} servers")
            running = [one for one in servers if one.state == "running"]
            silent = [one.name for one in running if not one.agent_connected]
            if silent:
                yield _warning(
                    "guest agent",
                    f"not connected in {', '.join(silent)}",
                    "Install qemu-guest-agent there: without it snapshots are crash-consistent.",
                )
            elif running:
                yield _ok("guest agent", f"connected in {len(running)} running servers")
    except DozoError as error:
        yield _missing("libvirt", str(error), error.hint_text())


def _examine_site(home: Path) -> Iterator[Finding]:
    try:
        settings = site_settings.load(home)
    except DozoError as error:
        yield _warning("site", str(error), error.hint_text())
        return
    yield _ok("site", f"{settings.name} in {settings.home}")
    yield _keys(settings)
    yield from _vaults(home)
    yield from _folders(settings)
    yield from _unfinished(settings)


def _keys(settings: Settings) -> Finding:
    try:
        mode = stat.S_IMODE(settings.keys.stat().st_mode)
    except OSError as error:
        return _missing(
            "keys", f"{settings.keys}: {error.strerror}", "Put your copy of the keys file back."
        )
    if mode & 0o077:
        return _warning("keys", f"others may read {settings.keys}", f"chmod 600 {settings.keys}")
    return _ok("keys", str(settings.keys))


def _vaults(home: Path) -> Iterator[Finding]:
    try:
        site = Site.open(home)
    except DozoError as error:
        yield _missing("catalog", str(error), error.hint_text())
        return
    with site:
        yield _tried("vault", lambda: f"{site.settings.vault}: {_describe_vault(site)}")
        for peer in site.settings.peers:
            found = _tried(f"vault of {peer.name}", partial(_describe_peer, site, peer))
            if found.outcome is Outcome.MISSING:
                found = _warning(found.name, found.found, found.mend or "Check the connection.")
            yield found
        newest = site.catalog.snapshots.first()
        if newest is not None and newest.created_at > clock.now():
            yield _warning(
                "clock and snapshots",
                f"snapshot {newest.name} was taken in the future ({newest.created_at})",
                "Set the clock right before the next snapshot.",
            )


def _describe_vault(site: Site) -> str:
    infos = site.vault.snapshots()
    sealed = sum(1 for info in infos if info.sealed is None)
    return f"{len(infos)} snapshots" + (f", {sealed} without a key here" if sealed else "")


def _describe_peer(site: Site, peer: Peer) -> str:
    return f"{peer.vault}: {len(site.peer_vault(peer).snapshots())} snapshots"


def _tried(name: str, look: Callable[[], str]) -> Finding:
    try:
        return _ok(name, look())
    except DozoError as error:
        return _missing(name, str(error), error.hint_text())


def _folders(settings: Settings) -> Iterator[Finding]:
    for name, folder in (("pool", settings.pool), ("scratch", settings.scratch)):
        if not folder.is_dir():
            yield _missing(name, f"{folder} is not there", f"mkdir -m 711 -p {folder}")
            continue
        free = shutil.disk_usage(folder).free
        refusal = _refusal(settings, folder)
        if refusal:
            yield _missing(
                name,
                refusal,
                "Choose a folder under /var/lib/libvirt/images, or let others enter (chmod o+x)"
                " it and every folder above it.",
            )
        elif free < _LITTLE_SPACE_BYTES:
            yield _warning(name, f"{folder}: {free // 1024**2} MiB free", "Make room there.")
        else:
            yield _ok(name, f"{folder}: {free // 1024**3} GiB free, QEMU may enter")


def _refusal(settings: Settings, folder: Path) -> str:
    """Why QEMU's user cannot use a folder; empty where it can, or where nobody can say."""
    try:
        with contextlib.closing(hypervisor.connect(settings.libvirt)) as host:
            return host.folder_refusal(folder) or ""
    except DozoError:
        return ""


def _unfinished(settings: Settings) -> Iterator[Finding]:
    left = notes.stale(settings.notes)
    if left:
        yield _warning(
            "unfinished work",
            "; ".join(f"{one.what}: {one.work}" for one in left),
            "The next command that changes something cleans up, and says what it did.",
        )
