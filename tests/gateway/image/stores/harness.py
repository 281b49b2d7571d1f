"""What the conformance suite needs of a store beside its interface."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.image.store import ImageStore, NamedStore, Stores

MIB = 1 << 20


@dataclass
class Rig:
    """A running store. ``left`` lists all that it holds, also what is not visible."""

    name: str
    driver: ImageStore
    left: Callable[[], Awaitable[list[str]]]

    def stores(self) -> Stores:
        return Stores([NamedStore(self.name, self.name, "", self.driver)])


async def whole(stores: Stores, location: str, start: int = 0, stop: int | None = None) -> bytes:
    data = await stores.open(location)
    assert data is not None
    blocks = [block async for block in data.read(start, data.size_bytes if stop is None else stop)]
    return b"".join(blocks)
