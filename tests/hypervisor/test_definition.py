"""What becomes of a stored definition, and what a definition says about disks. No libvirt."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from dozo.hypervisor.definition import Network, NewDefinition, disk_devices, rewritten, uuid_of
from dozo.hypervisor.disks import disks_of, parse_xml
from dozo.hypervisor.metadata import ServerMetadata, from_definition
from dozo.model.states import Identity, Tracking

OLD = "11111111-2222-3333-4444-555555555555"
NEW = "99999999-8888-7777-6666-555555555555"

DEFINITION = f"""
<domain type='qemu' id='7'>
  <name>shop</name><uuid>{OLD}</uuid><genid>aaaaaaaa-2222-3333-4444-555555555555</genid>
  <metadata><dozo:server xmlns:dozo='urn:dozo:server:1' tracking='off' tenant='acme'>
    <dozo:tag name='nightly'/><dozo:restoring device='vda' snapshot='s'/></dozo:server></metadata>
  <sysinfo type='smbios'><system><entry name='uuid'>{OLD}</entry></system></sysinfo>
  <os><type>hvm</type><loader type='pflash'>/code.fd</loader>
    <nvram template='/vars.fd'>/var/lib/libvirt/qemu/nvram/shop_VARS.fd</nvram></os>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2' discard='unmap'/>
      <source file='/a.qcow2' index='3'><encryption format='luks'/></source>
      <backingStore type='file'><source file='/base'/></backingStore>
      <target dev='vda' bus='virtio'/><serial>root</serial><boot order='2'/>
      <address type='pci' slot='0x07'/></disk>
    <disk type='network' device='disk'><driver name='qemu' type='raw'/>
      <auth username='me'><secret type='ceph' usage='x'/></auth>
      <source protocol='rbd' name='pool/b'/><target dev='vdb' bus='virtio'/><boot order='1'/>
    </disk>
    <disk type='file' device='cdrom'><source file='/no/such.iso'/>
      <target dev='sda' bus='sata'/><readonly/></disk>
    <disk type='file' device='disk'><source file='/no/such-seed.img'/>
      <target dev='vdc' bus='virtio'/><readonly/></disk>
    <interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/>
      <target dev='vnet5'/><model type='virtio'/></interface>
    <channel type='unix'><source mode='bind' path='/var/lib/libvirt/qemu/channel/x'/>
      <target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <graphics type='vnc' port='5901' autoport='no'/>
    <hostdev mode='subsystem' type='pci'/>
  </devices>
  <seclabel type='dynamic' model='dac'><label>+1:+1</label></seclabel>
</domain>
"""


def made(
    identity: Identity = Identity.COPY,
    network: Network = Network.SAME,
    nvram: Path | None = None,
) -> ET.Element:
    new = NewDefinition(
        name="shop-2",
        uuid=OLD if identity is Identity.KEEP else NEW,
        identity=identity,
        disks={"vda": (Path("/pool/new.raw"), "raw")},
        network=network,
        nvram=nvram,
    )
    return parse_xml(rewritten(DEFINITION, new))


def test_the_copy_has_a_name_and_identity_of_its_own() -> None:
    domain = made()
    assert domain.get("id") is None
    assert domain.findtext("name") == "shop-2"
    assert domain.findtext("uuid") == NEW
    assert domain.findtext("sysinfo/system/entry") == NEW
    assert domain.find("genid") is None
    assert domain.find("devices/interface/mac") is None
    assert domain.find("devices/hostdev") is None
    graphics = domain.find("devices/graphics")
    assert graphics is not None
    assert graphics.get("autoport") == "yes"
    assert graphics.get("port") is None
    assert domain.find("seclabel") is None


def test_keep_keeps_what_makes_the_server_itself() -> None:
    domain = made(Identity.KEEP)
    assert domain.findtext("uuid") == OLD
    assert domain.find("genid") is not None
    mac = domain.find("devices/interface/mac")
    assert mac is not None
    assert mac.get("address") == "52:54:00:00:00:01"
    assert domain.find("devices/hostdev") is not None
    assert uuid_of(DEFINITION) == OLD


def test_disks_are_the_given_ones_in_their_old_places() -> None:
    domain = made()
    (disk, cdrom) = domain.findall("devices/disk")
    source = disk.find("source")
    driver = disk.find("driver")
    assert source is not None
    assert driver is not None
    assert source.attrib == {"file": "/pool/new.raw"}
    assert list(source) == []
    assert driver.attrib == {"name": "qemu", "type": "raw", "discard": "unmap"}
    assert disk.find("backingStore") is None
    assert disk.findtext("serial") == "root"
    assert disk.find("address") is not None
    assert cdrom.find("source") is None


def test_a_volume_on_a_block_device_becomes_a_block_disk() -> None:
    new = NewDefinition(
        name="x",
        uuid=NEW,
        identity=Identity.COPY,
        disks={"vdb": (Path("/dev/vg/b"), "raw")},
        network=Network.SAME,
    )
    disk = parse_xml(rewritten(DEFINITION, new)).find("devices/disk")
    assert disk is not None
    assert disk.get("type") == "block"
    assert disk.find("auth") is None


@pytest.mark.parametrize(
    ("network", "kinds"),
    [(Network.SAME, ["bridge"]), (Network.ISOLATED, ["network"]), (Network.NONE, [])],
)
def test_the_network_is_the_chosen_one(network: Network, kinds: list[str]) -> None:
    interfaces = made(network=network).findall("devices/interface")
    assert [each.get("type") for each in interfaces] == kinds
    if network is Network.ISOLATED:
        sources = interfaces[0].findall("source")
        assert [source.attrib for source in sources] == [{"network": "dozo-isolated"}]
        assert interfaces[0].find("model") is not None


def test_marks_of_a_restore_and_the_owner_do_not_travel() -> None:
    before = from_definition(parse_xml(DEFINITION))
    assert before.restoring
    assert before.tenant == "acme"
    assert from_definition(made()) == ServerMetadata(tracking=Tracking.OFF, tags=("nightly",))


def test_firmware_variables_get_a_file_of_their_own() -> None:
    assert (made().findtext("os/nvram") or "") == ""
    assert made(nvram=Path("/nvram/x_VARS.fd")).findtext("os/nvram") == "/nvram/x_VARS.fd"


def test_run_time_details_are_dropped() -> None:
    domain = made()
    assert domain.find("devices/channel/source") is None
    assert domain.find("devices/channel/target") is not None
    assert domain.find("devices/interface/target") is None


def test_data_disks_are_listed_without_optical_and_read_only_ones() -> None:
    assert disk_devices(DEFINITION) == ("vda", "vdb")


def test_the_root_disk_is_the_first_in_boot_order() -> None:
    disks = {disk.device: disk for disk in disks_of(parse_xml(DEFINITION))}
    assert [name for name, disk in disks.items() if disk.is_root] == ["vdb"]
    assert disks["vdb"].kind == "rbd"
    assert not disks["vdb"].trackable
    assert disks["vda"].encrypted


@pytest.mark.parametrize(
    ("disk", "excluded", "refused"),
    [
        ("<disk type='file' device='cdrom'><source file='/i'/>", "cdrom", None),
        ("<disk type='file' device='floppy'>", "floppy", None),
        ("<disk type='file'><source file='/i'/><readonly/>", "read-only", None),
        ("<disk type='file'>", "empty", None),
        ("<disk type='file'><source file='/i'/>", None, None),
        ("<disk type='block' device='lun'><source dev='/dev/x'/>", None, "passed through"),
        ("<disk type='vhostuser'><source type='unix' path='/s'/>", None, "vhost-user"),
        ("<disk type='nvme'><source/>", None, "passed through"),
        ("<disk type='file'><source file='/i'/><transient/>", None, "transient"),
        ("<disk type='file'><source file='/shared'/>", None, "shared with running server db"),
        ("<disk type='dir'><source dir='/d'/>", None, "kind dir"),
    ],
)
def test_what_is_left_out_and_what_is_refused(
    disk: str, excluded: str | None, refused: str | None
) -> None:
    domain = parse_xml(
        f"<domain><devices>{disk}<target dev='vda' bus='virtio'/></disk></devices></domain>"
    )
    (found,) = disks_of(domain, used_elsewhere={"/shared": "db"})
    assert found.excluded_reason == excluded
    if refused is None:
        assert found.refused_reason is None
    else:
        assert refused in (found.refused_reason or "")
    assert found.capturable == (excluded is None and refused is None)
