"""Request bodies: the words of the Compute API's schemas, and which microversions have which member.

A body is a Struct at its newest; a member's annotation says when it exists (``since``, ``until``) and
what a type alone cannot (``format``). The checks of values against the cloud's state are the handlers'.

Source: Compute API reference, request parameters; JSON schemas of nova 34.
"""

import base64
import binascii
import functools
import ipaddress
import re
import unicodedata
from collections.abc import Callable, Iterator
from types import UnionType
from typing import Annotated, Any, Final, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from gateway.problem import Problem

OLDEST: Final = 1
NEWEST: Final = 100
"""The minor numbers of the microversions served: 2.1 to 2.100."""
INT_MAX: Final = 0x7FFFFFFF
USER_DATA_LENGTH_MAX: Final = 65535

_UUID: Final = "[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}"
_UUID_ALONE: Final = re.compile(rf"\A{_UUID}\Z")

Spans: TypeAlias = tuple[tuple[int, int], ...]
Check: TypeAlias = Callable[[Any], str]
"""What is wrong with a value, or an empty string."""


class Body(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The root of all request bodies: a member that is not declared is refused."""


def versions(*spans: tuple[int, int]) -> Meta:
    """The member exists in these ranges of minor versions."""
    return Meta(extra={"versions": spans})


def since(first: int) -> Meta:
    """The member exists from 2.``first`` on."""
    return versions((first, NEWEST))


def until(last: int) -> Meta:
    """The member exists up to 2.``last``."""
    return versions((OLDEST, last))


def required(first: int) -> Meta:
    """The member must be there from 2.``first`` on."""
    return Meta(extra={"required": first})


def _format(check: Check) -> Meta:
    return Meta(extra={"format": check})


def printable(text: str) -> bool:
    """No control characters, no line separators; spaces are fine."""
    return (text.isascii() and text.isprintable()) or all(_is_printable(char) for char in text)


def _is_printable(char: str) -> bool:
    category = unicodedata.category(char)
    return category[0] != "C" and (category[0] != "Z" or category == "Zs")


def _name(value: Any) -> str:
    if not printable(value) or value != value.strip():
        return "can only hold printable characters and can not start or end with whitespace"
    return ""


def _zone(value: Any) -> str:
    return _name(value)


def _text(value: Any) -> str:
    return "" if value is None or printable(value) else "can only hold printable characters"


def _base64(value: Any) -> str:
    """Line breaks are fine: many tools wrap what they encode."""
    try:
        base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        return "is not base64"
    return ""


def _ip(version: int | None) -> Check:
    def check(value: Any) -> str:
        try:
            found = ipaddress.ip_address(value)
        except ValueError:
            return f"is not an IPv{version} address" if version else "is not an IP address"
        return "" if version in (None, found.version) else f"is not an IPv{version} address"

    return check


def _positive(value: Any) -> str:
    return "" if 1 <= int(value) <= INT_MAX else f"must be between 1 and {INT_MAX}"


def _whole(value: Any) -> str:
    return "" if 0 <= int(value) <= INT_MAX else f"must be between 0 and {INT_MAX}"


Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255), _format(_name)]
Zone: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255), _format(_zone)]
Description: TypeAlias = Annotated[str, Meta(max_length=255), _format(_text)] | None
LongText: TypeAlias = Annotated[str, Meta(max_length=65535), _format(_text)] | None
Uuid: TypeAlias = Annotated[
    str,
    Meta(pattern=r"\A[0-9a-fA-F]{8}(-?)[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{12}\Z"),
]
UuidOrEmpty: TypeAlias = Annotated[
    str,
    Meta(pattern=r"\A([0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12})?\Z"),
]
ProjectId: TypeAlias = Annotated[str, Meta(pattern=r"\A[a-zA-Z0-9-]+\Z", max_length=255)]
Fqdn: TypeAlias = Annotated[str, Meta(pattern=r"\A[a-zA-Z0-9._-]+\Z", max_length=255)]
Metadata: TypeAlias = dict[
    Annotated[str, Meta(pattern=r"\A[a-zA-Z0-9_:. -]{1,255}\Z")], Annotated[str, Meta(max_length=255)]
]
Tag: TypeAlias = Annotated[str, Meta(pattern=r"\A[^,/]+\Z", max_length=60)]
Digits: TypeAlias = Annotated[str, Meta(pattern=r"\A[0-9]{1,10}\Z")]
Positive: TypeAlias = Annotated[int | Digits, _format(_positive)]
Whole: TypeAlias = Annotated[int | Digits, _format(_whole)]
Boolean: TypeAlias = (
    bool
    | Literal[
        "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes",
        "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no",
    ]
)  # fmt: skip
DiskConfig: TypeAlias = Literal["AUTO", "MANUAL"]
IpAddress: TypeAlias = Annotated[str, Meta(max_length=45), _format(_ip(None))]
Ipv4: TypeAlias = Annotated[str, Meta(max_length=45), _format(_ip(4))]
Ipv6: TypeAlias = Annotated[str, Meta(max_length=45), _format(_ip(6))]
Base64: TypeAlias = Annotated[str, _format(_base64)]
UserData: TypeAlias = Annotated[str, Meta(max_length=USER_DATA_LENGTH_MAX), _format(_base64)]

_TRUE: Final = frozenset({"true", "1", "on", "yes", "t", "y"})
_FALSE: Final = frozenset({"false", "0", "off", "no", "f", "n"})


def truth(value: bool | str | UnsetType, *, default: bool = False) -> bool:  # noqa: FBT001  the API's word
    """A Boolean member as a bool; what is no word for either is ``default``."""
    if isinstance(value, bool):
        return value
    return default if value is UNSET or str(value).lower() not in _TRUE | _FALSE else value.lower() in _TRUE


def address_text(text: str) -> str:
    """An IP address in its usual, shortest form."""
    return str(ipaddress.ip_address(text))


def is_uuid(text: str) -> bool:
    """Whether the text has the form of a UUID, with or without dashes."""
    return _UUID_ALONE.match(text) is not None


def truth_in(text: str, name: str) -> bool:
    """A Boolean query parameter. Raises Problem 400."""
    if text.lower() not in _TRUE | _FALSE:
        raise Problem(400, f"Invalid value for {name}: {text[:64]!r} is neither true nor false.")
    return text.lower() in _TRUE


class _Member(Struct, frozen=True):
    attribute: str
    name: str
    spans: Spans
    required_from: int
    checks: tuple[Check, ...]


def _metas(hint: Any) -> Iterator[Meta]:
    """The Metas of a member itself, not those of what a list or mapping holds."""
    if get_origin(hint) is Annotated:
        yield from (meta for meta in hint.__metadata__ if isinstance(meta, Meta))
        yield from _metas(hint.__origin__)
    elif get_origin(hint) in (Union, UnionType):
        for part in get_args(hint):
            yield from _metas(part)


@functools.cache
def _members(kind: type[Struct]) -> tuple[_Member, ...]:
    hints = get_type_hints(kind, include_extras=True)
    found = []
    for field in structs.fields(kind):
        extras = [meta.extra for meta in _metas(hints[field.name]) if meta.extra]
        spans: Spans = next((extra["versions"] for extra in extras if "versions" in extra), ())
        needed = next((extra["required"] for extra in extras if "required" in extra), NEWEST + 1)
        checks = tuple(extra["format"] for extra in extras if "format" in extra)
        found.append(_Member(field.name, field.encode_name, spans, needed, checks))
    return tuple(found)


def check(body: Struct, minor: int, path: str = "") -> None:
    """Check a decoded body against microversion 2.``minor``. Raises Problem 400 that names the member."""
    for member in _members(type(body)):
        value = getattr(body, member.attribute)
        if value is UNSET:
            if minor >= member.required_from:
                raise Problem(
                    400, f"Invalid request body: {member.name!r} is a required property{_at(path)}."
                )
            continue
        if member.spans and not any(first <= minor <= last for first, last in member.spans):
            message = f"Additional properties are not allowed ({member.name!r} was unexpected)"
            raise Problem(400, f"Invalid request body: {message}{_at(path)}.")
        for wrong in filter(None, (test(value) for test in member.checks if value is not None)):
            raise Problem(400, f"Invalid input for field/attribute {member.name}: the value {wrong}.")
        for part in value if isinstance(value, list | tuple) else (value,):
            if isinstance(part, Struct):
                check(part, minor, member.name)


def _at(path: str) -> str:
    return f" in {path!r}" if path else ""
