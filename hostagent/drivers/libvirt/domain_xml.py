"""Domain XML from a guest's specification. Pure: no paths are looked at, no libvirt is asked.

Source: https://libvirt.org/formatdomain.html; each choice that is not libvirt's default says why.
"""

import ipaddress
import re
from typing import Final
from xml.etree import ElementTree as ET

from msgspec import Struct

from hostagent.driver import DriverError
from protocol.guest import GuestNic, GuestSpec

NAMESPACE: Final = "urn:starling:instance:1"
QEMU_NAMESPACE: Final = "http://libvirt.org/schemas/domain/qemu/1.0"
_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.IGNORECASE)
_ISOLATED_SLOT: Final = 0x10  # PCI slots from here on are left alone by libvirt in small domains
_ISOLATED_NICS_MAX: Final = 8
_ISOLATED_PREFIX_MAX: Final = 29  # QEMU's own network needs addresses for itself

ET.register_namespace("starling", NAMESPACE)
ET.register_namespace("qemu", QEMU_NAMESPACE)


class Hardware(Struct, frozen=True, kw_only=True):
    """What the host decides about every domain. ``cpu_model`` '' is the host's own model."""

    virt_type: str
    machine: str
    cpu_model: str
    disk_cache: str
    bridge: str
    tb_cache_mib: int


class DomainPaths(Struct, frozen=True, kw_only=True):
    """The files of one guest, absolute; '' means it has none.

    With a ``rescue_disk`` that is booted from. It is the first disk; ``own_first``: the one behind.
    """

    disk: str
    config_drive: str
    console_log: str
    rescue_disk: str = ""
    own_first: bool = False


def domain_name(instance: str) -> str:
    """The domain's name; libvirt wants one beside the UUID."""
    return f"starling-{instance}"


def domain_xml(spec: GuestSpec, hardware: Hardware, paths: DomainPaths) -> str:
    """The whole definition. Raises ``DriverError`` ``unsupported`` for cards it cannot describe."""
    domain = ET.Element("domain", type=hardware.virt_type)
    _add(domain, "name", domain_name(spec.instance))
    _add(domain, "uuid", spec.instance)
    _add_metadata(domain, spec, rescued=bool(paths.rescue_disk))
    _add(domain, "memory", str(spec.memory_mib), unit="MiB")
    _add(domain, "vcpu", str(spec.vcpus))
    _add_system(domain, spec, hardware)
    _add(domain, "clock", offset="utc")
    _add(domain, "on_poweroff", "destroy")
    _add(domain, "on_reboot", "restart")
    _add(domain, "on_crash", "destroy")
    devices = _add(domain, "devices")
    _add_disks(devices, paths, hardware.disk_cache)
    _add_serial(devices, paths.console_log)
    _add_channel(devices)
    if hardware.bridge:
        for nic in spec.nics:
            _add_bridged_nic(devices, nic, hardware.bridge)
    balloon = _add(devices, "memballoon", model="virtio")
    _add(balloon, "stats", period="10")
    rng = _add(devices, "rng", model="virtio")
    _add(rng, "backend", "/dev/urandom", model="random")
    if not hardware.bridge and spec.nics:
        _add_isolated_nics(domain, spec.nics)
    ET.indent(domain)
    return ET.tostring(domain, encoding="unicode") + "\n"


def generation_of(metadata: str) -> int:
    """The generation in our metadata element as libvirt returns it: without its namespace.

    0, older than any, when it is not readable.
    """
    try:
        return int(ET.fromstring(metadata).findtext("generation", "0"))  # noqa: S314  written by us
    except (ET.ParseError, ValueError):
        return 0


def is_rescued(metadata: str) -> bool:
    """Whether the definition with this metadata is that of the rescue system."""
    try:
        return ET.fromstring(metadata).find("rescued") is not None  # noqa: S314  written by us
    except ET.ParseError:
        return False


def _add(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element


def _add_metadata(domain: ET.Element, spec: GuestSpec, *, rescued: bool) -> None:
    """Whose guest this is: it comes back with the domain after any restart."""
    instance = _add(_add(domain, "metadata"), f"{{{NAMESPACE}}}instance")
    _add(instance, f"{{{NAMESPACE}}}generation", str(spec.generation))
    _add(instance, f"{{{NAMESPACE}}}project", spec.project)
    if rescued:
        _add(instance, f"{{{NAMESPACE}}}rescued")


def _add_system(domain: ET.Element, spec: GuestSpec, hardware: Hardware) -> None:
    # cloud-init recognises an OpenStack cloud by the product's name.
    system = _add(_add(domain, "sysinfo", type="smbios"), "system")
    for name, value in (
        ("manufacturer", "Starling"),
        ("product", "OpenStack Compute"),
        ("serial", spec.instance),
        ("uuid", spec.instance),
        ("family", "Virtual Machine"),
    ):
        _add(system, "entry", value, name=name)
    os = _add(domain, "os")
    _add(os, "type", "hvm", arch="x86_64", machine=hardware.machine)
    _add(os, "smbios", mode="sysinfo")
    features = _add(domain, "features")
    _add(features, "acpi")
    _add(features, "apic")
    if hardware.virt_type == "qemu":
        _add(_add(features, "tcg"), "tb-cache", str(hardware.tb_cache_mib), unit="MiB")
    if hardware.cpu_model:
        cpu = _add(domain, "cpu", mode="custom", match="exact", check="none")
        _add(cpu, "model", hardware.cpu_model, fallback="forbid")
    else:
        _add(domain, "cpu", mode="host-model")


def _add_disks(devices: ET.Element, paths: DomainPaths, disk_cache: str) -> None:
    files = [paths.disk]
    if paths.rescue_disk:
        files.insert(1 if paths.own_first else 0, paths.rescue_disk)
    for file, name in zip(files, ("vda", "vdb"), strict=False):
        disk = _add(devices, "disk", type="file", device="disk")
        _add(disk, "driver", name="qemu", type="qcow2", cache=disk_cache, discard="unmap")
        _add(disk, "source", file=file)
        _add(disk, "target", dev=name, bus="virtio")
        if file == (paths.rescue_disk or paths.disk):
            _add(disk, "boot", order="1")
    if not paths.config_drive:
        return
    drive = _add(devices, "disk", type="file", device="cdrom")
    _add(drive, "driver", name="qemu", type="raw")
    _add(drive, "source", file=paths.config_drive)
    _add(drive, "target", dev="hda", bus="ide")
    _add(drive, "readonly")


def _add_serial(devices: ET.Element, console_log: str) -> None:
    serial = _add(devices, "serial", type="pty")
    _add(serial, "log", file=console_log, append="on")
    _add(serial, "target", port="0")
    console = _add(devices, "console", type="pty")
    _add(console, "target", type="serial", port="0")


def _add_channel(devices: ET.Element) -> None:
    channel = _add(devices, "channel", type="unix")
    _add(channel, "target", type="virtio", name="org.qemu.guest_agent.0")


def _add_bridged_nic(devices: ET.Element, nic: GuestNic, bridge: str) -> None:
    interface = _add(devices, "interface", type="bridge")
    _add(interface, "source", bridge=bridge)
    _add(interface, "mac", address=nic.mac)
    _add(interface, "target", dev=f"tap{nic.port[:11]}")
    _add(interface, "model", type="virtio")
    _add(interface, "mtu", size=str(nic.mtu))
    _add(interface, "rom", enabled="no")


def _add_isolated_nics(domain: ET.Element, nics: tuple[GuestNic, ...]) -> None:
    """Cards on networks of their own inside QEMU.

    libvirt's own user network would let a guest reach every service on the host's loopback and
    everything the host can reach; ``restrict=on`` exists only on QEMU's command line.
    """
    if len(nics) > _ISOLATED_NICS_MAX:
        raise DriverError("unsupported", f"More than {_ISOLATED_NICS_MAX} network cards without a bridge.")
    arguments: list[str] = []
    for number, nic in enumerate(nics):
        if not _MAC.fullmatch(nic.mac):
            raise DriverError("unsupported", "A network card's MAC address is not valid.")
        netdev = f"user,id=isolated{number},restrict=on,ipv6=off{_own_network(nic)}"
        place = f"bus=pci.0,addr={_ISOLATED_SLOT + number:#x}"
        card = f"virtio-net-pci,netdev=isolated{number},mac={nic.mac},host_mtu={nic.mtu},romfile=,{place}"
        arguments += ["-netdev", netdev, "-device", card]
    line = _add(domain, f"{{{QEMU_NAMESPACE}}}commandline")
    for argument in arguments:
        _add(line, f"{{{QEMU_NAMESPACE}}}arg", value=argument)


def _own_network(nic: GuestNic) -> str:
    """Options that make QEMU's DHCP server hand out the card's address; '' when it cannot."""
    if not nic.ip:
        return ""
    interface = ipaddress.ip_interface(f"{nic.ip}/{nic.prefix_len}")
    if not isinstance(interface, ipaddress.IPv4Interface) or nic.prefix_len > _ISOLATED_PREFIX_MAX:
        return ""
    # QEMU wants addresses of the network for itself, other than the guest's.
    own = [address for address in _first_addresses(interface.network) if address != interface.ip]
    return f",net={interface.network},host={own[0]},dns={own[1]},dhcpstart={interface.ip}"


def _first_addresses(network: ipaddress.IPv4Network) -> list[ipaddress.IPv4Address]:
    return [network.network_address + offset for offset in (1, 2, 3)]
