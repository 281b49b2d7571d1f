"""Domain XML against golden files, since every byte is seen by libvirt.

Run with STARLING_GOLDEN=write to renew them, and read the difference before committing it.
"""

import os
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from msgspec.structs import replace

from hostagent.driver import DriverError
from hostagent.drivers.libvirt.domain_xml import (
    NAMESPACE,
    QEMU_NAMESPACE,
    DomainPaths,
    Hardware,
    domain_xml,
    generation_of,
    is_rescued,
)
from protocol.guest import GuestNic, GuestSpec
from tests.hostagent.drivers.specs import spec

GOLDEN = Path(__file__).parent / "golden"
NIC = GuestNic(
    port="7b2e4a10-0000-4000-8000-000000000001",
    network="7b2e4a10-0000-4000-8000-0000000000ff",
    mac="fa:16:3e:00:00:11",
    ip="10.0.0.11",
    gateway="10.0.0.1",
)
EMULATED = Hardware(
    virt_type="qemu", machine="pc", cpu_model="qemu64", disk_cache="none", bridge="", tb_cache_mib=32
)
KVM = replace(EMULATED, virt_type="kvm", cpu_model="", bridge="brn1")
PATHS = DomainPaths(
    disk="/instances/6f0c/disk.qcow2",
    config_drive="/instances/6f0c/config.iso",
    console_log="/instances/6f0c/console.log",
)

CASES: dict[str, tuple[GuestSpec, Hardware, DomainPaths]] = {
    "emulated_isolated": (
        replace(spec(), nics=(NIC, replace(NIC, mac="fa:16:3e:00:00:12", ip=""))),
        EMULATED,
        PATHS,
    ),
    "kvm_bridged": (replace(spec(generation=7), nics=(NIC,), vcpus=4, memory_mib=2048), KVM, PATHS),
    "rescue": (spec(), EMULATED, replace(PATHS, rescue_disk="/instances/6f0c/rescue.qcow2")),
    "rescue_behind": (
        spec(),
        EMULATED,
        replace(PATHS, rescue_disk="/instances/6f0c/rescue.qcow2", own_first=True),
    ),
    "no_card_no_drive": (spec(), EMULATED, replace(PATHS, config_drive="")),
}


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    xml = domain_xml(*CASES[name])
    file = GOLDEN / f"{name}.xml"
    if os.environ.get("STARLING_GOLDEN") == "write":
        file.write_text(xml)
    assert xml == file.read_text()


def test_generation_comes_back_from_what_libvirt_returns() -> None:
    assert generation_of("<instance>\n  <generation>7</generation>\n</instance>") == 7
    assert generation_of("<instance/>") == 0
    assert generation_of("<generation>x") == 0


def test_a_rescue_is_known_by_its_metadata() -> None:
    assert is_rescued("<instance>\n  <generation>7</generation><rescued/>\n</instance>")
    assert not is_rescued("<instance><generation>7</generation></instance>")
    assert not is_rescued("<rescued>x")


def test_metadata_is_in_our_namespace() -> None:
    domain = ET.fromstring(domain_xml(*CASES["kvm_bridged"]))  # noqa: S314  made by us
    path = f"metadata/{{{NAMESPACE}}}instance/{{{NAMESPACE}}}generation"
    assert domain.findtext(path) == "7"


@pytest.mark.parametrize(
    ("ip", "prefix_len", "expected"),
    [
        ("10.0.0.1", 24, "net=10.0.0.0/24,host=10.0.0.2,dns=10.0.0.3,dhcpstart=10.0.0.1"),
        ("10.0.0.2", 24, "net=10.0.0.0/24,host=10.0.0.1,dns=10.0.0.3,dhcpstart=10.0.0.2"),
        ("10.0.0.9", 29, "net=10.0.0.8/29,host=10.0.0.10,dns=10.0.0.11,dhcpstart=10.0.0.9"),
    ],
)
def test_isolated_network_hands_out_the_cards_address(ip: str, prefix_len: int, expected: str) -> None:
    netdev = _netdev(replace(NIC, ip=ip, prefix_len=prefix_len))
    assert netdev == f"user,id=isolated0,restrict=on,ipv6=off,{expected}"


@pytest.mark.parametrize(("ip", "prefix_len"), [("", 24), ("10.0.0.1", 31), ("2001:db8::5", 64)])
def test_isolated_network_without_a_usable_address(ip: str, prefix_len: int) -> None:
    netdev = _netdev(replace(NIC, ip=ip, prefix_len=prefix_len))
    assert netdev == "user,id=isolated0,restrict=on,ipv6=off"


def test_mac_cannot_smuggle_options_into_qemu() -> None:
    with pytest.raises(DriverError):
        _netdev(replace(NIC, mac="fa:16:3e:00:00:11,restrict=off"))


def test_text_is_escaped() -> None:
    xml = domain_xml(replace(spec(), project='<&">'), EMULATED, PATHS)
    ET.fromstring(xml)  # noqa: S314  made by us


def _netdev(nic: GuestNic) -> str:
    domain = ET.fromstring(domain_xml(replace(spec(), nics=(nic,)), EMULATED, PATHS))  # noqa: S314  made by us
    values = [arg.get("value", "") for arg in domain.iter(f"{{{QEMU_NAMESPACE}}}arg")]
    assert values[0] == "-netdev"
    return values[1]
