"""Finding drivers by name, and reading the options an operator gives them.

Drivers are entry points. Our own are known without being installed, so that a source checkout works, and
a plugin may not replace one of them. Nothing is imported before it is asked for. What a driver is made
from is its seam's business.
"""

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

S = TypeVar("S", bound=Struct)


class DriverNotInstalledError(Exception):
    """No driver of that name, or its own imports are missing. Says what there is."""


class DriverOptionsError(Exception):
    """The operator's options are not what the driver understands."""


def installed(group: str, own: Mapping[str, str]) -> dict[str, EntryPoint]:
    """All drivers of a group that can be named, by name. ``own``: name → ``module:attribute``."""
    found = {point.name: point for point in entry_points(group=group)}
    return found | {name: EntryPoint(name, value, group) for name, value in own.items()}


def load_plugin(group: str, own: Mapping[str, str], name: str, *, what: str) -> Any:
    """The object the entry point names; ``what`` is the kind of driver, for the reader of an error.

    Raises DriverNotInstalledError.
    """
    points = installed(group, own)
    if name not in points:
        known = ", ".join(sorted(points))
        raise DriverNotInstalledError(f"There is no {what} {name!r}; installed: {known}.")
    try:
        return points[name].load()
    except ImportError as error:
        others = ", ".join(sorted(set(points) - {name}))
        raise DriverNotInstalledError(
            f"The {what} {name!r} cannot be imported ({error}); others: {others}."
        ) from error


def checked_options(options: Mapping[str, Any], settings: type[S], *, what: str) -> S:
    """The options as the driver's own Struct; ``a.b`` is member ``b`` of the table ``a``.

    Raises DriverOptionsError, which shows no value.
    """
    try:
        return msgspec.convert(_nested(options), settings, strict=False)
    except msgspec.ValidationError as error:
        raise DriverOptionsError(f"The {what}'s options are not valid: {error}.") from error


def _nested(options: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in options.items():
        table, dot, member = name.partition(".")
        if dot and isinstance(nested.setdefault(table, {}), dict):
            nested[table][member] = value
        else:
            nested[name] = value
    return nested
