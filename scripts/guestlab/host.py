"""The host's libvirt: started when nothing has started it, and swept of what was left behind."""

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import libvirt

URI = "qemu:///system"
IMAGES = Path("/var/lib/libvirt/images")
QEMU_USER = "libvirt-qemu"
KVM_DEVICE = Path("/dev/kvm")
PID_FILE = Path("/run/libvirtd.pid")
WITHOUT_KVM = Path(__file__).parent / "without-kvm.sh"
DAEMONS = ("virtlogd", "libvirtd")


class HostNotReady(Exception):
    """libvirt or QEMU is missing or does not start; the text says how to mend it."""


# Without a handler of ours, libvirt prints every error to the terminal before it raises it.
libvirt.registerErrorHandler(lambda *_: None, None)


def connect() -> libvirt.virConnect:
    """A connection to the system's libvirt, which is started if need be. Raises HostNotReady."""
    for program in ("qemu-system-x86_64", "qemu-img", "libvirtd", "virsh"):
        if shutil.which(program) is None:
            raise HostNotReady(f"{program} is not installed; run scripts/setup")
    connection = _try_connect()
    if connection is None:
        _start()
        deadline = time.monotonic() + 20
        while (connection := _try_connect()) is None:
            if time.monotonic() > deadline:
                raise HostNotReady(f"libvirt was started but {URI} does not answer")
            time.sleep(0.2)
    return connection


def _try_connect() -> libvirt.virConnect | None:
    try:
        return libvirt.open(URI)
    except libvirt.libvirtError:
        return None


def _start() -> None:
    if Path("/run/systemd/system").is_dir():
        commands = [["systemctl", "start", "libvirtd"]]
    else:
        if KVM_DEVICE.exists() and not qemu_user_may_use_kvm() and not _runs("libvirtd"):
            _let_libvirt_note_that_there_is_no_kvm()
        commands = [[daemon, "--daemon"] for daemon in DAEMONS if not _runs(daemon)]
    for command in commands:
        _run(command)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HostNotReady(f"{' '.join(command)}: {done.stderr.strip()}")


def _let_libvirt_note_that_there_is_no_kvm() -> None:
    """Run libvirt for a moment where /dev/kvm is not there; see `qemu_user_may_use_kvm`.

    libvirt keeps what it found out about QEMU in its cache, where the next one finds it, in accord
    with what guests may use. It cannot stay like this: it would not see file systems that are
    mounted later.
    """
    _run(["sh", str(WITHOUT_KVM), "libvirtd", "--daemon"])
    deadline = time.monotonic() + 20
    while (connection := _try_connect()) is None:
        if time.monotonic() > deadline:
            raise HostNotReady("libvirt was started but does not answer")
        time.sleep(0.2)
    connection.getCapabilities()
    connection.getDomainCapabilities(None, "x86_64", None, "qemu")
    connection.close()
    os.kill(int(PID_FILE.read_text()), signal.SIGTERM)
    while _runs("libvirtd") or PID_FILE.exists():
        if time.monotonic() > deadline:
            raise HostNotReady("libvirt does not stop")
        time.sleep(0.2)


def qemu_user_may_use_kvm() -> bool:
    """Whether libvirt's QEMU user has access to /dev/kvm.

    Where nothing has set the device's group (no udev), it belongs to root alone. libvirt then asks
    QEMU with more rights than its guests have, finds KVM, finds that guests may not use it, takes
    its own answer for outdated, and asks again at every single call, seconds each time.
    """
    try:
        user = pwd.getpwnam(QEMU_USER)
        device = KVM_DEVICE.stat()
    except (KeyError, OSError):
        return False
    groups = os.getgrouplist(user.pw_name, user.pw_gid)
    return bool(
        device.st_mode & 0o006 == 0o006
        or (device.st_gid in groups and device.st_mode & 0o060 == 0o060)
    )


def asks_qemu_each_time(connection: libvirt.virConnect) -> bool:
    """Whether a running libvirt is slow for the reason that `qemu_user_may_use_kvm` tells."""
    if not KVM_DEVICE.exists() or qemu_user_may_use_kvm():
        return False
    for _ in range(2):  # the first answer may have to be found out; the second must be at hand
        started = time.monotonic()
        connection.getDomainCapabilities(None, "x86_64", None, "qemu")
        seconds = time.monotonic() - started
    return seconds > 1


def _runs(daemon: str) -> bool:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, state = stat.read_text().split("(", 1)[1].rsplit(") ", 1)
            # One in a container or a changed root is not this host's.
            if name == daemon and not (stat.parent / "root").samefile("/"):
                continue
        except OSError:
            continue
        if name == daemon and not state.startswith("Z"):
            return True
    return False


def alive(pid: int) -> bool:
    """Whether a process of this number exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def domains_named(connection: libvirt.virConnect, prefix: str) -> Iterator[libvirt.virDomain]:
    """Every domain, running or not, whose name begins so."""
    for domain in connection.listAllDomains():
        if domain.name().startswith(prefix):
            yield domain


def remove_domain(domain: libvirt.virDomain) -> None:
    """Stop a domain at once and forget it with all that libvirt keeps about it; its disks stay."""
    if domain.isActive():
        _ignoring_gone(domain.destroy)
    flags = (
        libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    )
    _ignoring_gone(lambda: domain.undefineFlags(flags))


def _ignoring_gone(action: Callable[[], object]) -> None:
    try:
        action()
    except libvirt.libvirtError as error:
        gone = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID)
        if error.get_error_code() not in gone:
            raise


def remove_leftovers(connection: libvirt.virConnect, prefix: str) -> None:
    """Remove what killed runs left: names are `<prefix><pid>-…`, and that process is gone."""

    def owner_is_gone(name: str) -> bool:
        pid = name.removeprefix(prefix).split("-")[0]
        return name.startswith(prefix) and pid.isdigit() and not alive(int(pid))

    for domain in list(domains_named(connection, prefix)):
        if owner_is_gone(domain.name()):
            remove_domain(domain)
    for folder in IMAGES.glob(f"{prefix}*"):
        if owner_is_gone(folder.name):
            shutil.rmtree(folder, ignore_errors=True)
