"""Whether guests may use the processor's virtualisation."""

import functools
import importlib
import os


@functools.cache
def kvm_works() -> bool:
    """Ask Dozo's own probe; DOZO_GUEST_KVM=0 or =1 overrules it."""
    wish = os.environ.get("DOZO_GUEST_KVM")
    if wish in ("0", "1"):
        return wish == "1"
    try:
        probe = importlib.import_module("dozo.hypervisor.kvm")
    except ImportError:
        return False
    return bool(probe.kvm_works())
