"""The flavors a new cloud begins with."""

from typing import Final

from process.clock import Clock
from store.compute import FlavorRow, add_flavor, has_flavors
from store.pool import Connection

FLAVORS: Final = (
    FlavorRow(id="42", name="m1.nano", vcpus=1, memory_mib=128, disk_gib=1),
    FlavorRow(id="1", name="m1.tiny", vcpus=1, memory_mib=512, disk_gib=1),
    FlavorRow(id="2", name="m1.small", vcpus=1, memory_mib=2048, disk_gib=20),
    FlavorRow(id="3", name="m1.medium", vcpus=2, memory_mib=4096, disk_gib=40),
    FlavorRow(id="4", name="m1.large", vcpus=4, memory_mib=8192, disk_gib=80),
)


async def bootstrap(connection: Connection, clock: Clock) -> None:
    """Add the default flavors to a cloud that has no flavor at all; what an operator made is left alone."""
    if not await has_flavors(connection):
        for row in FLAVORS:
            await add_flavor(connection, row, clock.now(), if_absent=True)
