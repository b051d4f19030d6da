"""Whole servers: define, start, stop, remove."""

import os
import pwd
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4
from xml.etree import ElementTree as ET

import libvirt

from dozo.hypervisor import metadata, server_state
from dozo.hypervisor.connection import Host, is_gone, message, translated
from dozo.hypervisor.definition import ISOLATED_NETWORK, Network, NewDefinition, rewritten, uuid_of
from dozo.hypervisor.disks import parse_xml
from dozo.hypervisor.errors import (
    DefinitionUnusable,
    NameTaken,
    ServerRestoring,
    ServerRunning,
    StopTimedOut,
    UuidTaken,
)
from dozo.hypervisor.inventory import state_of
from dozo.model import clock
from dozo.model.message import Message
from dozo.model.states import Identity

_POLL_S = 0.1
# A guest that still boots does not hear the power button; pressing it again does no harm.
_PRESS_AGAIN_S = 15.0
_FORCED_LIMIT_S = 30.0


def define_server(
    host: Host,
    definition: str,
    *,
    name: str,
    identity: Identity,
    disks: Mapping[str, tuple[Path, str]],
    nvram: bytes | None = None,
    tpm: Mapping[str, bytes] | None = None,
    network: str = Network.SAME,
) -> str:
    """Define a stopped server from a stored definition; returns its UUID.

    ``disks`` gives path and format by device name; disks that it does not name are left out.
    *Keep* takes the old UUID, MAC addresses and TPM state; *copy* makes them new. UEFI variables
    are taken either way: they say how the disks boot. Raises ``NameTaken``, ``UuidTaken``,
    ``DefinitionUnusable``; then nothing is left behind.
    """
    if identity is Identity.COPY:
        tpm = None
    try:
        old_uuid = uuid_of(definition)
        has_variables = server_state.nvram_path(parse_xml(definition)) is not None
    except ET.ParseError as error:
        raise DefinitionUnusable(server=name, reason=str(error)) from error
    uuid = (old_uuid if identity is Identity.KEEP else "") or str(uuid4())
    _require_free(host, name, uuid)
    firmware = _nvram_path(name, uuid) if has_variables and nvram is not None else None
    new = NewDefinition(
        name=name,
        uuid=uuid,
        identity=identity,
        disks=disks,
        network=Network(network),
        nvram=firmware,
    )
    text = rewritten(definition, new)
    tpm_root = server_state.TPM_ROOT / uuid
    had_tpm = tpm_root.exists()
    try:
        if firmware is not None and nvram is not None:
            _write_nvram(host, firmware, nvram)
        if tpm is not None and server_state.has_emulated_tpm(parse_xml(text)):
            _write_tpm(tpm_root, tpm)
        if new.network is Network.ISOLATED:
            _ensure_isolated_network(host)
        host.connection.defineXML(text)
    except (libvirt.libvirtError, OSError) as error:
        if firmware is not None:
            firmware.unlink(missing_ok=True)
        if not had_tpm:
            shutil.rmtree(tpm_root, ignore_errors=True)
        reason = message(error) if isinstance(error, libvirt.libvirtError) else str(error)
        raise DefinitionUnusable(server=name, reason=reason) from error
    return uuid


def start(host: Host, server: str) -> None:
    """Start a server; one that runs already is fine. Raises ``ServerRestoring``."""
    domain = host.domain(server)
    marks = metadata.read(host, server).restoring
    if marks:
        raise ServerRestoring(server=domain.name(), device=marks[0].device)
    with translated(host, "start", domain.name()):
        if domain.isActive():
            return
        source = f"devices/interface/source[@network='{ISOLATED_NETWORK}']"
        if parse_xml(domain.XMLDesc(0)).find(source) is not None:
            _ensure_isolated_network(host)
        domain.create()


def stop(
    host: Host,
    server: str,
    *,
    timeout_s: float = 120,
    force: bool = False,
    look: Callable[[], None] = lambda: None,
) -> None:
    """Press the power button and wait until the server is off; stopped already is fine.

    Raises ``StopTimedOut`` if the guest does not obey, unless ``force`` then cuts the power, and
    whatever ``look`` raises while it waits.
    """
    domain = host.domain(server)
    name = domain.name()
    deadline = clock.monotonic() + timeout_s
    press_at = clock.monotonic()
    while _is_on(host, domain, name):
        look()
        now = clock.monotonic()
        if now >= deadline:
            if not force:
                raise StopTimedOut(server=name, timeout_s=timeout_s)
            destroy(host, server)
            return
        if now >= press_at:
            _press_power_button(host, domain, name)
            press_at = now + _PRESS_AGAIN_S
        clock.sleep(_POLL_S)


def destroy(host: Host, server: str) -> None:
    """Cut a server's power; stopped already is fine."""
    domain = host.domain(server)
    name = domain.name()
    if not _is_on(host, domain, name):
        return
    try:
        # Gracefully: QEMU gets to write out what it has in memory, bitmaps among it.
        domain.destroyFlags(libvirt.VIR_DOMAIN_DESTROY_GRACEFUL)
    except libvirt.libvirtError:
        if _is_on(host, domain, name):
            with translated(host, Message("force off"), name):
                domain.destroy()
    deadline = clock.monotonic() + _FORCED_LIMIT_S
    while _is_on(host, domain, name) and clock.monotonic() < deadline:
        clock.sleep(_POLL_S)


def undefine(host: Host, server: str) -> None:
    """Remove a stopped server's definition with everything that libvirt keeps beside it.

    That is NVRAM, TPM state, a managed-save image and the records of snapshots and
    checkpoints. The disks stay. Raises ``ServerRunning``.
    """
    domain = host.domain(server)
    state = state_of(domain)
    if domain.isActive():
        raise ServerRunning(server=domain.name(), state=state)
    flags = (
        libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
        | libvirt.VIR_DOMAIN_UNDEFINE_TPM
    )
    with translated(host, "remove", domain.name()):
        domain.undefineFlags(flags)


def _is_on(host: Host, domain: Any, name: str) -> bool:
    try:
        return bool(domain.isActive())
    except libvirt.libvirtError as error:
        if is_gone(error):
            return False
        with translated(host, Message("look after"), name):
            raise


def _press_power_button(host: Host, domain: Any, name: str) -> None:
    try:
        domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
    except libvirt.libvirtError as error:
        # Between the guest's last word and QEMU's end it runs no more, but is still on.
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID and not is_gone(error):
            with translated(host, Message("shut down"), name):
                raise


def _require_free(host: Host, name: str, uuid: str) -> None:
    with suppress(libvirt.libvirtError):
        host.connection.lookupByName(name)
        raise NameTaken(name=name)
    with suppress(libvirt.libvirtError):
        existing = host.connection.lookupByUUIDString(uuid)
        raise UuidTaken(uuid=uuid, existing=existing.name())


def _nvram_path(name: str, uuid: str) -> Path:
    """A file of its own: one that is there belongs to somebody. AppArmor wants this ending."""
    root = server_state.NVRAM_ROOT
    path = root / f"{name}_VARS.fd"
    return root / f"{name}-{uuid[:8]}_VARS.fd" if path.exists() else path


def _write_nvram(host: Host, path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_private(path, content, host.qemu_user())


def _write_tpm(root: Path, files: Mapping[str, bytes]) -> None:
    owner = _swtpm_user()
    root.mkdir(parents=True, exist_ok=True, mode=0o711)
    for name, content in files.items():
        path = root / name
        if not path.resolve().is_relative_to(root.resolve()):
            raise OSError(
                Message("the TPM state names a file outside its directory: {name}", name=name)
            )
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700)
            if owner is not None:
                os.chown(path.parent, *owner)
        _write_private(path, content, owner)


def _write_private(path: Path, content: bytes, owner: tuple[int, int] | None) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        if owner is not None:
            os.fchown(descriptor, *owner)
        file.flush()
        os.fsync(descriptor)


def _swtpm_user() -> tuple[int, int] | None:
    """The user that libvirt starts swtpm as; distributions call it one or the other."""
    for name in ("tss", "swtpm"):
        with suppress(KeyError):
            found = pwd.getpwnam(name)
            return found.pw_uid, found.pw_gid
    return None


def _ensure_isolated_network(host: Host) -> None:
    """A network of its own bridge, with no address on the host and no way out."""
    try:
        network = host.connection.networkLookupByName(ISOLATED_NETWORK)
    except libvirt.libvirtError:
        network = host.connection.networkDefineXML(
            f"<network><name>{ISOLATED_NETWORK}</name>"
            "<bridge name='dozo-isolated' stp='on' delay='0'/></network>"
        )
    if not network.isActive():
        network.create()
