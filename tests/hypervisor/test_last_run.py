"""Only a log that shows the guest's own shutdown lets an offline snapshot be called clean."""

import pytest

from dozo.hypervisor.last_run import doubt

UUID = "6f1a5a04-0a51-4ac2-9a5b-0d6a0d6a0001"
BEGIN = f"""2026-11-23 08:08:11.387+0000: starting up libvirt version: 9.0.0, package: 9.0.0-4
/usr/bin/qemu-system-x86_64 \\
-uuid {UUID} \\
-msg timestamp=on
"""
BY_LIBVIRT = (
    "2026-11-23T08:35:36.9Z qemu-system-x86_64: terminating on signal 15 from pid 620 (libvirtd)\n"
)
BY_INIT = (
    "2026-11-23T08:35:36.9Z qemu-system-x86_64: terminating on signal 15 from pid 1 (/sbin/init)\n"
)
NAMELESS = "2026-11-23T08:35:36.9Z qemu-system-x86_64: terminating on signal 15 from pid 77\n"
SHUTDOWN = "2026-11-23 08:35:38.364+0000: shutting down, reason=shutdown\n"
DESTROYED = "2026-11-23 08:35:38.364+0000: shutting down, reason=destroyed\n"


def test_the_guest_s_own_shutdown() -> None:
    assert doubt(BEGIN + BY_LIBVIRT + SHUTDOWN, UUID) == ""
    # Earlier runs do not matter.
    assert doubt(BEGIN + BY_INIT + SHUTDOWN + BEGIN + BY_LIBVIRT + SHUTDOWN, UUID) == ""


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (BEGIN + BY_INIT + SHUTDOWN, "from outside, by /sbin/init"),
        (BEGIN + NAMELESS + SHUTDOWN, "from outside, by process 77"),
        (BEGIN + BY_LIBVIRT + BY_INIT + SHUTDOWN, "from outside"),
        (BEGIN + SHUTDOWN, "without libvirt"),
        (BEGIN + BY_LIBVIRT + DESTROYED, "does not say"),
        (BEGIN + BY_LIBVIRT, "does not say"),
        (BEGIN + BY_LIBVIRT + SHUTDOWN + BEGIN, "does not say"),
        (BY_LIBVIRT + SHUTDOWN, "does not show its last run"),
        ("", "does not show its last run"),
        ((BEGIN + BY_LIBVIRT + SHUTDOWN).replace(UUID, UUID[:-1] + "2"), "another server"),
    ],
)
def test_anything_else_leaves_a_doubt(log: str, words: str) -> None:
    assert words in doubt(log, UUID)
