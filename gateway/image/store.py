"""Where image data lies: the small interface of a store's driver, and all stores of this cloud as one.

A **key** names the data of one upload within a store, ``image.upload``; a **location** is ``store:key`` and
is what an image's record keeps. Data becomes visible at once or not at all. A driver knows nothing of
records: which data is still wanted is told to ``sweep``. No HTTP of the API here.
"""

import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct

READ_BYTES: Final = 1 << 20
"""Blocks of a read are about this large."""
KEY: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.[0-9a-f]{32}")
"""What a key looks like: no driver is given another, and a sweep touches nothing else."""
CUT_S: Final = 86_400.0
"""Parts of what was never committed are swept so much later than whole data: they may belong to an upload
on a slow line, which shows no sign of life until its next part is full."""
_SEPARATOR: Final = ":"


class StoreFull(Exception):  # noqa: N818  named for what the client is told
    """The store has no room for this data."""


class StoreFailed(Exception):  # noqa: N818  named for what happened
    """The store cannot be used now, or there is none. The text is for the log."""


class Sink(Protocol):
    """One upload's data on its way. Exactly one of ``commit`` and ``abandon`` ends it."""

    async def write(self, block: bytes) -> None:
        """Append. Raises StoreFull or StoreFailed."""
        ...

    async def commit(self) -> None:
        """Make it durable and visible. Raises StoreFull or StoreFailed."""
        ...

    async def abandon(self) -> None:
        """Remove what was written, also after ``commit``. Never raises; the sweep removes what it cannot."""
        ...


class ImageData(Protocol):
    """Complete data of a store, ready to be read."""

    @property
    def size_bytes(self) -> int:
        """Its whole length."""
        ...

    @property
    def path(self) -> Path | None:
        """The local file to send from, when the data is one."""
        ...

    def read(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """The bytes from ``start`` to before ``stop``, in blocks; both within the data.

        Raises StoreFailed, also in the middle; it never ends short without saying so.
        """
        ...


class ImageStore(Protocol):
    """A store's driver. Any number of gateways use the same store at the same time."""

    async def begin(self, key: str, length: int | None) -> Sink:
        """Begin an upload of ``length`` bytes (None: not known). Raises StoreFull or StoreFailed."""
        ...

    async def open(self, key: str) -> ImageData | None:
        """The data under this key; None when it is not there. Raises StoreFailed."""
        ...

    async def delete(self, key: str) -> None:
        """Remove data; removing what is not there is no error. Raises StoreFailed."""
        ...

    async def sweep(self, wanted: AbstractSet[str], older_than: float) -> int:
        """Remove data last written before ``older_than`` (epoch seconds) whose key is not wanted.

        How many were removed. Touches only what has a KEY for a name. Raises StoreFailed.
        """
        ...

    async def close(self) -> None:
        """Let go of threads and connections."""
        ...


class NamedStore(Struct, frozen=True):
    """A store as the API shows it: ``name`` is its id, ``kind`` its driver's name."""

    name: str
    kind: str
    description: str
    driver: ImageStore


class Stores:
    """The cloud's stores. Data goes to the default unless another is named."""

    def __init__(self, stores: Sequence[NamedStore] = (), default: str = "") -> None:
        """Without ``default`` the first is it. Raises ValueError when there is none of that name."""
        self._stores = {store.name: store for store in stores}
        self.default = default or next(iter(self._stores), "")
        if self.default and self.default not in self._stores:
            raise ValueError(f"there is no image store {default!r}")

    def __iter__(self) -> Iterator[NamedStore]:
        return iter(self._stores.values())

    def __contains__(self, name: str) -> bool:
        return name in self._stores

    async def begin(self, image: str, upload: str, length: int | None, *, store: str = "") -> "Writing":
        """Begin an upload, both ids being UUIDs. Raises StoreFull or StoreFailed."""
        name = store or self.default
        key = f"{image}.{upload.replace('-', '')}"
        if KEY.fullmatch(key) is None:
            raise StoreFailed(f"not a key for data: {key[:100]!r}")
        return Writing(f"{name}{_SEPARATOR}{key}", await self._driver(name).begin(key, length))

    async def open(self, location: str) -> ImageData | None:
        """The data at a location; None when it is not there. Raises StoreFailed."""
        driver, key = self._at(location)
        return await driver.open(key)

    async def delete(self, location: str) -> None:
        """Remove the data at a location. Raises StoreFailed."""
        driver, key = self._at(location)
        await driver.delete(key)

    async def sweep(self, wanted: AbstractSet[str], older_than: float) -> int:
        """Sweep every store of what is at no wanted location; one that fails keeps no other from it.

        How many pieces were removed. Raises StoreFailed, after all were tried.
        """
        keys: dict[str, set[str]] = {name: set() for name in self._stores}
        for name, key in map(split, wanted):
            keys.setdefault(name, set()).add(key)
        removed, failures = 0, []
        for store in self:
            try:
                removed += await store.driver.sweep(keys[store.name], older_than)
            except StoreFailed as error:
                failures.append(f"{store.name}: {error}")
        if failures:
            raise StoreFailed("; ".join(failures))
        return removed

    async def close(self) -> None:
        """Close every driver."""
        for store in self:
            await store.driver.close()

    def _at(self, location: str) -> tuple[ImageStore, str]:
        name, key = split(location)
        if KEY.fullmatch(key) is None:
            raise StoreFailed(f"not a location of image data: {location[:100]!r}")
        return self._driver(name), key

    def _driver(self, name: str) -> ImageStore:
        if name not in self._stores:
            raise StoreFailed(f"this gateway has no image store {name!r}")
        return self._stores[name].driver


def split(location: str) -> tuple[str, str]:
    """A location's store and key."""
    name, _, key = location.partition(_SEPARATOR)
    return name, key


class Writing:
    """A sink, and the location its data will have once it is committed."""

    def __init__(self, location: str, sink: Sink) -> None:
        self.location = location
        self.write, self.commit, self.abandon = sink.write, sink.commit, sink.abandon
