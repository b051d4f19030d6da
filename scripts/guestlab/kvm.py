"""Whether guests may use the processor's virtualisation."""

import functools
import os

import libvirt

from dozo.hypervisor.kvm import kvm_works as probe_kvm


@functools.cache
def kvm_works() -> bool:
    """libvirt must offer KVM, and Dozo's probe see it run; DOZO_GUEST_KVM=0 or =1 overrules."""
    wish = os.environ.get("DOZO_GUEST_KVM")
    if wish in ("0", "1"):
        return wish == "1"
    return _libvirt_offers_kvm() and probe_kvm()


def _libvirt_offers_kvm() -> bool:
    with libvirt.openReadOnly("qemu:///system") as connection:
        try:
            connection.getDomainCapabilities(None, "x86_64", None, "kvm")
        except libvirt.libvirtError:
            return False
    return True
