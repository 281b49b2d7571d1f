"""Makes the image stores an operator has configured. Drivers are found by entry point.

An entry point of the group ``starling.image_stores`` names a factory: a function that takes a
``StoreContext`` and returns an ``ImageStore``. No driver is imported before a store of its kind is asked for.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from gateway.image.store import ImageStore, NamedStore, Stores
from process.clock import Clock
from process.plugin import DriverOptionsError, checked_options, load_plugin

GROUP: Final = "starling.image_stores"
_OWN: Final = {
    "file": "gateway.image.stores.file:make",
    "s3": "gateway.image.stores.s3:make",
    "swift": "gateway.image.stores.swift:make",
}
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class StoreContext(Struct, frozen=True, kw_only=True):
    """What every driver is made from. ``options`` may hold secrets; the driver itself checks them."""

    name: str
    options: Mapping[str, Any]
    clock: Clock


class _Entry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A store in the settings."""

    kind: str
    description: str = ""
    options: dict[str, Any] = {}


Factory = Callable[[StoreContext], ImageStore]


def make_stores(configured: Mapping[str, Mapping[str, Any]], default: str, clock: Clock) -> Stores:
    """All stores, by name in the settings' order. Raises DriverNotInstalledError or DriverOptionsError."""
    stores = [_make(name, entry, clock) for name, entry in configured.items()]
    try:
        return Stores(stores, default)
    except ValueError as error:
        raise DriverOptionsError(f"image_store_default: {error}.") from error


def _make(name: str, given: Mapping[str, Any], clock: Clock) -> NamedStore:
    if _NAME.fullmatch(name) is None:
        raise DriverOptionsError(
            f"{name!r} is not a name for an image store: letters, digits and _ . - only."
        )
    entry = checked_options(given, _Entry, what=f"image store {name!r}")
    factory: Factory = load_plugin(GROUP, _OWN, entry.kind, what="image store driver")
    driver = factory(StoreContext(name=name, options=entry.options, clock=clock))
    return NamedStore(name, entry.kind, entry.description, driver)
