"""What an operator may turn on a host with libvirt. No behaviour."""

from typing import Final, Literal

from msgspec import Struct

from hostagent.images import ImageLimits

MACHINE: Final = "pc"  # PCI cards can be plugged into it without spare root ports made beforehand
EMULATOR_CPU: Final = "qemu64"  # the host's own model is not known to the emulator
TB_CACHE_MIB: Final = 32  # QEMU would take a quarter of the guest's memory and more


class LibvirtSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One host's libvirt.

    ``instances_path`` holds a folder per guest and ``_base``, the image cache; libvirtd must see it
    under the same path. ``bridge`` is the bridge that guests' cards are plugged into; '' gives every
    card a network of its own inside QEMU, which hands out the card's address and leads nowhere.
    ``cpu_model`` '' means the host's model with KVM and ``qemu64`` without. ``force_config_drive``
    gives every guest a config drive, asked for or not: right where no metadata service is reachable.
    """

    hostname: str
    uri: str = "qemu:///system"
    instances_path: str = "/var/lib/starling/instances"
    bridge: str = ""
    virt_type: Literal["auto", "kvm", "qemu"] = "auto"
    cpu_model: str = ""
    force_config_drive: bool = True
    boots_at_once: int = 2
    console_bytes_max: int = 4 << 20
    reserved_memory_mib: int = 512
    host_ip: str = "127.0.0.1"
    images: ImageLimits = ImageLimits()
