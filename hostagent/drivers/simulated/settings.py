"""What a simulated host is made of and how long its verbs take. No behaviour."""

from typing import Final, Literal

from msgspec import Struct

Verb = Literal[
    "inventory",
    "look",
    "fetch",
    "spawn",
    "start",
    "shut_down",
    "power_off",
    "reboot",
    "pause",
    "unpause",
    "suspend",
    "resume",
    "rescue",
    "unrescue",
    "destroy",
    "console_log",
]

SECONDS: Final[dict[Verb, float]] = {
    # What libvirt and QEMU take on a calm two-core machine, in seconds; "fetch" is per GiB of image,
    # "suspend" and "resume" per GiB of memory.
    "inventory": 0.02,
    "look": 0.002,
    "fetch": 8.0,
    "spawn": 0.9,
    "start": 0.7,
    "shut_down": 2.5,
    "power_off": 0.2,
    "reboot": 3.0,
    "pause": 0.02,
    "unpause": 0.01,
    "suspend": 4.0,
    "resume": 4.0,
    "rescue": 0.9,
    "unrescue": 0.9,
    "destroy": 0.3,
    "console_log": 0.002,
}


class SimulatedSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One simulated host. ``latency_factor`` scales every wait; at 0 no verb waits at all.

    ``images_max`` images are cached, the longest unused going first, and never one that a guest is made of.
    ``jitter`` is the fraction by which a wait may be longer or shorter, 0 ≤ jitter < 1.
    """

    hostname: str = "simulated"
    vcpus: int = 16
    memory_mib: int = 65_536
    disk_gib: int = 1_000
    cpu_model: str = "qemu64"
    host_ip: str = "127.0.0.1"
    images_max: int = 1_000
    latency_factor: float = 1.0
    jitter: float = 0.3
