"""Guests and clocks for the driver tests. No fixtures and no assertions."""

import random
import uuid

from protocol.guest import GuestImage, GuestSpec

INSTANCE = "6f0c2f1e-8b1c-4a52-9a55-0d1f6d0a7c11"
IMAGE = GuestImage(
    image="0a8cbe4b-1d7d-4d5a-8a57-4b8f1f0b6e01",
    url="http://images.example/v2/images/0a8cbe4b/file?signature=s",
    sha512="00" * 64,
    size_bytes=1 << 30,
    disk_format="qcow2",
)


def spec(
    instance: str = INSTANCE,
    *,
    generation: int = 1,
    memory_mib: int = 128,
    disk_gib: int = 1,
    image: GuestImage | None = IMAGE,
    hostname: str = "web-1",
) -> GuestSpec:
    """A small guest."""
    return GuestSpec(
        instance=instance,
        generation=generation,
        project="c0ffee00c0ffee00c0ffee00c0ffee00",
        name=hostname,
        hostname=hostname,
        vcpus=1,
        memory_mib=memory_mib,
        disk_gib=disk_gib,
        image=image,
    )


def quiet(what: str, done: int, total: int) -> None:
    """A progress callback that nobody reads."""


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, seed: int = 1) -> None:
        self.time = 1_000.0
        self.random = random.Random(seed)

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))
