"""What is said about guests and hosts: the facts agents and actors exchange.

Units: memory in MiB, disks in GiB, time in seconds. Power states are the Compute API's integers.
"""

from enum import IntEnum

from msgspec import Struct


class PowerState(IntEnum):
    """Source: Compute API, ``OS-EXT-STS:power_state`` (2 and 5 are unused).

    SUSPENDED is a guest whose memory lies on the host's disk; it has no process. The API shows it as off.
    """

    NOSTATE = 0
    RUNNING = 1
    PAUSED = 3
    SHUTDOWN = 4
    CRASHED = 6
    SUSPENDED = 7


class GuestNic(Struct, frozen=True, kw_only=True):
    """One virtual network card, as the config drive and the domain describe it."""

    port: str
    network: str
    mac: str
    ip: str = ""
    prefix_len: int = 24
    gateway: str = ""
    mtu: int = 1450


class GuestImage(Struct, frozen=True, kw_only=True):
    """The image a guest's disk is an overlay of. ``url`` is signed and short-lived."""

    image: str
    url: str
    sha512: str
    size_bytes: int
    disk_format: str


class GuestSpec(Struct, frozen=True, kw_only=True):
    """Everything an agent needs to make a guest, from scratch and again."""

    instance: str
    generation: int
    project: str
    name: str
    hostname: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    image: GuestImage | None
    nics: tuple[GuestNic, ...] = ()
    config_drive: bool = True
    user_data: str = ""  # base64
    public_keys: dict[str, str] = {}
    metadata: dict[str, str] = {}
    availability_zone: str = "nova"
    launch_index: int = 0


class GuestState(Struct, frozen=True, kw_only=True):
    """A guest as the hypervisor has it now. ``generation`` is the one it was made with.

    ``after`` is the number of the last command to it that was over when this was seen: it orders what
    is reported unasked among the answers to commands. Agents fill it in. ``rescued``: what runs, or would,
    is the rescue system.
    """

    instance: str
    generation: int
    power_state: PowerState
    reason: str = ""
    after: int = 0
    rescued: bool = False


class HostInventory(Struct, frozen=True, kw_only=True):
    """What a host offers. Totals, before allocation ratios."""

    hostname: str
    hypervisor_type: str
    hypervisor_version: int
    vcpus: int
    memory_mib: int
    disk_gib: int
    cpu_model: str = ""
    cpu_arch: str = "x86_64"
    virt_type: str = "qemu"
    host_ip: str = "127.0.0.1"
    agent_version: str = ""
