"""Finding a server's disk among the guest's devices, and what is built on it. No libvirt."""

from dataclasses import replace

from dozo.hypervisor.agent import GuestDevice
from dozo.hypervisor.disks import DiskInfo, disks_of, parse_xml
from dozo.hypervisor.guest_disks import GuestDisks
from dozo.hypervisor.in_use import descendants

DOMAIN = parse_xml(
    """
<domain><devices>
  <controller type='scsi' index='0'>
    <address type='pci' domain='0' bus='0' slot='0x05' function='0'/></controller>
  <disk type='file'><source file='/a'/><target dev='vda' bus='virtio'/><serial>root</serial>
    <address type='pci' domain='0x0000' bus='0x00' slot='0x04' function='0x0'/></disk>
  <disk type='file'><source file='/b'/><target dev='vdb' bus='virtio'/>
    <address type='pci' domain='0x0000' bus='0x00' slot='0x06' function='0x0'/></disk>
  <disk type='file'><source file='/c'/><target dev='sda' bus='scsi'/>
    <address type='drive' controller='0' bus='0' target='0' unit='1'/></disk>
</devices></domain>
"""
)


def device(name: str, slot: int | None = None, **more: object) -> GuestDevice:
    found = GuestDevice(
        name=name,
        serial=None,
        pci=None if slot is None else (0, 0, slot, 0),
        unit=None,
        is_partition=False,
        built_on=(),
    )
    return replace(found, **more)  # type: ignore[arg-type]


VDA = device("/dev/vda", 4, serial="root")
VDB = device("/dev/vdb", 6)
SDA = device("/dev/sda", 5, unit=(0, 0, 0))
SDB = device("/dev/sdb", 5, unit=(0, 0, 1))


def disk(name: str) -> DiskInfo:
    return next(each for each in disks_of(DOMAIN) if each.device == name)


def test_disks_are_found_by_serial_or_place() -> None:
    places = GuestDisks.from_definition(DOMAIN)
    devices = [VDB, VDA, SDA, SDB]
    assert places.name_of(disk("vda"), devices) == "/dev/vda"
    assert places.name_of(disk("vdb"), devices) == "/dev/vdb"
    assert places.name_of(disk("sda"), devices) == "/dev/sdb"


def test_a_guest_that_numbers_buses_anew_is_not_trusted() -> None:
    places = GuestDisks.from_definition(DOMAIN)
    elsewhere = replace(VDB, pci=(0, 3, 0, 0))
    assert places.name_of(disk("vdb"), [VDA, elsewhere]) is None
    assert places.name_of(disk("vda"), [VDA, elsewhere]) == "/dev/vda"


def test_two_devices_with_one_serial_are_told_apart_by_their_place() -> None:
    places = GuestDisks.from_definition(DOMAIN)
    twin = replace(VDB, serial="root")
    assert places.name_of(disk("vda"), [VDA, twin]) == "/dev/vda"


def test_what_is_built_on_a_disk_belongs_to_it() -> None:
    part = device("/dev/vdb1", is_partition=True, built_on=("/dev/vdb",))
    crypt = device("/dev/dm-0", built_on=("/dev/vdb1",))
    volume = device("/dev/dm-1", built_on=("/dev/dm-0",))
    family = descendants("/dev/vdb", [volume, crypt, part, VDB, VDA])
    assert family == {"/dev/vdb", "/dev/vdb1", "/dev/dm-0", "/dev/dm-1"}
