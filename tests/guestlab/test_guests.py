"""The guests that other tests stand on are what they claim to be."""

import pytest
from guestlab.domain import DiskKind
from tests.support.guests import Guest, GuestFactory

pytestmark = pytest.mark.guest


def test_a_guest_boots_from_its_volumes_alone_with_its_data_mounted(guest: Guest) -> None:
    assert "kernel" not in guest.domain.XMLDesc(0).split("<devices>")[0].replace("kernel_irq", "")
    mounted = guest.sh("findmnt --noheadings --output SOURCE,TARGET /srv/data")
    assert mounted.split() == ["/dev/vdb", "/srv/data"]
    assert guest.sql("select count(*) from pgbench_accounts") == "500000"
    assert guest.agent.ask("guest-fsfreeze-status", {}, 5) == "thawed"
    guest.shut_down()


@pytest.mark.parametrize(("root", "data"), [("raw", "overlay"), ("overlay", "raw")])
def test_a_guest_without_agent_takes_commands(
    guest_factory: GuestFactory, root: DiskKind, data: DiskKind
) -> None:
    guest = guest_factory(root=root, data=data, agent=False)
    assert guest.sh("systemctl is-active qemu-guest-agent", check=False) == "inactive"
    assert guest.sh("cat /proc/1/comm") == "systemd"
