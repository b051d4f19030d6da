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
from dozo.model.message import Message, joined
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
        return _missing(name, Message("not installed"), mend)
    answer = subprocess.run(
        [path, "--version"], capture_output=True, text=True, check=False, timeout=_PROGRAM_SECONDS
    )
    return _ok(name, (answer.stdout.splitlines() or [Message("no version")])[0])


def _binding(module: str, package: str) -> Finding:
    name = Message("Python module {module}", module=module)
    if importlib.util.find_spec(module) is None:
        return _missing(
            name,
            Message("not found"),
            Message(
                "apt install {package}; the virtual environment needs --system-site-packages",
                package=package,
            ),
        )
    return _ok(name, Message("found"))


def _kvm() -> Finding:
    if hypervisor.kvm_works(timeout_s=_KVM_SECONDS):
        return _ok("KVM", Message("a probe ran under it"))
    return _warning(
        "KVM",
        Message("does not work here; servers run under emulation, many times slower"),
        Message(
            "Load kvm_intel or kvm_amd, and allow nested virtualisation where this host is a guest."
        ),
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
        return _ok(Message("clock"), Message("synchronised"))
    return _warning(
        Message("clock"),
        Message("not synchronised")
        if answer == "no"
        else Message("nothing says whether it is synchronised"),
        Message(
            "Run a time service (systemd-timesyncd, chrony): snapshots carry this host's time."
        ),
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
                    Message("hypervisor"),
                    Message(
                        "{uri} is simulated, with {count} servers: no real server is protected",
                        uri=uri,
                        count=len(servers),
                    ),
                    Message("For real servers set `libvirt` under [hypervisor] in dozo.toml."),
                )
                return
            yield _ok("libvirt", Message("{uri}: {count} servers", uri=uri, count=len(servers)))
            running = [one for one in servers if one.state == "running"]
            silent = [one.name for one in running if not one.agent_connected]
            if silent:
                yield _warning(
                    Message("guest agent"),
                    Message("not connected in {silent}", silent=", ".join(silent)),
                    Message(
                        "Install qemu-guest-agent there: without it snapshots are crash-consistent."
                    ),
                )
            elif running:
                yield _ok(
                    Message("guest agent"),
                    Message("connected in {count} running servers", count=len(running)),
                )
    except DozoError as error:
        yield _missing("libvirt", str(error), error.hint_as_message())


def _examine_site(home: Path) -> Iterator[Finding]:
    try:
        settings = site_settings.load(home)
    except DozoError as error:
        yield _warning(Message("site"), str(error), error.hint_as_message())
        return
    yield _ok(Message("site"), Message("{name} in {home}", name=settings.name, home=settings.home))
    yield _keys(settings)
    yield from _vaults(home)
    yield from _folders(settings)
    yield from _unfinished(settings)


def _keys(settings: Settings) -> Finding:
    try:
        mode = stat.S_IMODE(settings.keys.stat().st_mode)
    except OSError as error:
        return _missing(
            Message("keys"),
            f"{settings.keys}: {error.strerror}",
            Message("Put your copy of the keys file back."),
        )
    if mode & 0o077:
        return _warning(
            Message("keys"),
            Message("others may read {keys}", keys=settings.keys),
            f"chmod 600 {settings.keys}",
        )
    return _ok(Message("keys"), str(settings.keys))


def _vaults(home: Path) -> Iterator[Finding]:
    try:
        site = Site.open(home)
    except DozoError as error:
        yield _missing(Message("catalog"), str(error), error.hint_as_message())
        return
    with site:
        yield _tried(Message("vault"), lambda: _describe_vault(site))
        for peer in site.settings.peers:
            found = _tried(
                Message("vault of {peer}", peer=peer.name), partial(_describe_peer, site, peer)
            )
            if found.outcome is Outcome.MISSING:
                found = _warning(
                    found.name, found.found, found.mend or Message("Check the connection.")
                )
            yield found
        newest = site.catalog.snapshots.first()
        if newest is not None and newest.created_at > clock.now():
            yield _warning(
                Message("clock and snapshots"),
                Message(
                    "snapshot {name} was taken in the future ({at})",
                    name=newest.name,
                    at=newest.created_at,
                ),
                Message("Set the clock right before the next snapshot."),
            )


def _describe_vault(site: Site) -> str:
    infos = site.vault.snapshots()
    sealed = sum(1 for info in infos if info.sealed is None)
    return Message("{vault}: {count} snapshots", vault=site.settings.vault, count=len(infos)) + (
        Message(", {sealed} without a key here", sealed=sealed) if sealed else ""
    )


def _describe_peer(site: Site, peer: Peer) -> str:
    return Message(
        "{vault}: {count} snapshots", vault=peer.vault, count=len(site.peer_vault(peer).snapshots())
    )


def _tried(name: str, look: Callable[[], str]) -> Finding:
    try:
        return _ok(name, look())
    except DozoError as error:
        return _missing(name, str(error), error.hint_as_message())


def _folders(settings: Settings) -> Iterator[Finding]:
    for name, folder in ((Message("pool"), settings.pool), (Message("scratch"), settings.scratch)):
        if not folder.is_dir():
            yield _missing(
                name,
                Message("{folder} is not there", folder=folder),
                f"mkdir -m 711 -p {folder}",
            )
            continue
        free = shutil.disk_usage(folder).free
        refusal = _refusal(settings, folder)
        if refusal:
            yield _missing(
                name,
                refusal,
                Message(
                    "Choose a folder under /var/lib/libvirt/images, or let others enter "
                    "(chmod o+x) it and every folder above it."
                ),
            )
        elif free < _LITTLE_SPACE_BYTES:
            yield _warning(
                name,
                Message("{folder}: {mebibytes} MiB free", folder=folder, mebibytes=free // 1024**2),
                Message("Make room there."),
            )
        else:
            yield _ok(
                name,
                Message(
                    "{folder}: {gibibytes} GiB free, QEMU may enter",
                    folder=folder,
                    gibibytes=free // 1024**3,
                ),
            )


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
            Message("unfinished work"),
            joined([Message("{what}: {work}", what=one.what, work=one.work) for one in left], "; "),
            Message("The next command that changes something cleans up, and says what it did."),
        )
