"""JSON patches of an image: read in both of their media types, and applied to the record in order.

A patch is judged as a whole before anything of it is applied. Source: Image API v2, "Update image"; the
pointers are those of draft-pbryan-zyp-json-pointer with one level.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from gateway.image.limits import OWNER_LENGTH_MAX
from gateway.image.record import BASE, check_name, limited, with_member
from gateway.problem import Problem
from protocol.image import ImageRecord

V2_1: Final = "application/openstack-images-v2.1-json-patch"
V2_0: Final = "application/openstack-images-v2.0-json-patch"
CHANGES_MAX: Final = 1000
OWNER: Final = "owner"
_OPS: Final = ("add", "replace", "remove")
_FORMATS: Final = frozenset({"disk_format", "container_format"})
_BAD_ESCAPE: Final = re.compile("~(?![01])")
_SHOWN_MAX: Final = 64


class Change(Struct, frozen=True):
    """One change: ``op`` is add, replace or remove; ``fresh``: adding what is there is a conflict."""

    op: str
    name: str
    value: Any = None
    fresh: bool = False


def changes_in(body: Sequence[Mapping[str, Any]], media_type: str) -> list[Change]:
    """Read a patch. Raises Problem 400 for its form, 403 for members that no client may set."""
    if len(body) > CHANGES_MAX:
        raise Problem(400, f"A patch may hold {CHANGES_MAX} changes.")
    return [_v2_0(change) if media_type == V2_0 else _v2_1(change) for change in body]


def _v2_1(change: Mapping[str, Any]) -> Change:
    op = change.get("op")
    if op not in _OPS:
        raise Problem(400, f"Operations must be one of {', '.join(_OPS)}.")
    if "path" not in change:
        raise Problem(400, "Unable to find 'path' in the change.")
    return _change(str(op), change["path"], change, fresh=False)


def _v2_0(change: Mapping[str, Any]) -> Change:
    ops = [op for op in _OPS if op in change]
    if len(ops) != 1:
        raise Problem(400, "Operation objects must contain exactly one member named add, replace or remove.")
    return _change(ops[0], change[ops[0]], change, fresh=True)


def _change(op: str, path: Any, change: Mapping[str, Any], *, fresh: bool) -> Change:
    name = _name(path)
    if name != OWNER:
        check_name(name)
    if op == "remove":
        return Change(op, name)
    if "value" not in change:
        raise Problem(400, f"Operation {op!r} requires a member named 'value'.")
    value = change["value"]
    if name == OWNER:
        _check_owner(value)
    else:
        with_member(ImageRecord(), name, value)
    return Change(op, name, value, fresh)


def _name(path: Any) -> str:
    """The member a pointer leads to. Raises Problem 400."""
    if not isinstance(path, str) or not path.startswith("/"):
        raise Problem(400, "The path of an operation is a JSON pointer such as /name.")
    if _BAD_ESCAPE.search(path):
        raise Problem(400, f"Pointer {path[:_SHOWN_MAX]!r} contains ~ that is no part of ~0 or ~1.")
    first, *deeper = path[1:].split("/")
    name = first.replace("~1", "/").replace("~0", "~").strip()
    if deeper and name != "locations":
        raise Problem(400, f"Invalid JSON pointer {path[:_SHOWN_MAX]!r}: members of an image have one level.")
    return name


def _check_owner(value: Any) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= OWNER_LENGTH_MAX:
        raise Problem(400, f"owner must be the id of a project, 1 to {OWNER_LENGTH_MAX} characters.")


def owner_in(changes: Sequence[Change]) -> str:
    """The project that the patch gives the image to; empty: it does not. Raises Problem 403."""
    owner = ""
    for change in changes:
        if change.name == OWNER:
            if change.op == "remove":
                raise Problem(403, "Property owner may not be removed.")
            owner = str(change.value)
    return owner


def changed(record: ImageRecord, changes: Sequence[Change], *, status: str) -> ImageRecord:
    """The record after the changes, in order; the owner is another matter. Raises Problem 403, 409 or 413."""
    for change in changes:
        if change.name != OWNER:
            record = _applied(record, change, status)
    return limited(record)


def _applied(record: ImageRecord, change: Change, status: str) -> ImageRecord:
    name, known = change.name, change.name in BASE or change.name in record.properties
    if change.op == "remove":
        return _without(record, name)
    if name in _FORMATS and status != "queued":
        raise Problem(403, f"Attribute {name} can be only replaced for a queued image.")
    if change.op == "replace" and not known:
        raise Problem(409, f"Property {name[:_SHOWN_MAX]} does not exist.")
    if change.fresh and change.op == "add" and known:
        raise Problem(409, f"Property {name[:_SHOWN_MAX]} already present.")
    return with_member(record, name, change.value)


def _without(record: ImageRecord, name: str) -> ImageRecord:
    if name in BASE:
        raise Problem(403, f"Property {name} may not be removed.")
    if name not in record.properties:
        raise Problem(409, f"Property {name[:_SHOWN_MAX]} does not exist.")
    return replace(record, properties={key: value for key, value in record.properties.items() if key != name})
