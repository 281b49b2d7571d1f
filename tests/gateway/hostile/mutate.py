"""Hostile bytes: JSON values nobody should send, and good bodies spoiled by them."""

import json
import random
from collections.abc import Iterator
from typing import Any, Final

import msgspec

HUGE_TEXT: Final = "a" * 70_000
DEEP: Final = 100_000

# JSON texts, not values: some of them no encoder would write.
VALUES: Final[dict[str, bytes]] = {
    "null": b"null",
    "true": b"true",
    "zero": b"0",
    "minus": b"-1",
    "half": b"1.5",
    "2^31": b"2147483648",
    "2^63": b"9223372036854775808",
    "2^64": b"18446744073709551616",
    "10^30": b"1" + b"0" * 30,
    "-10^30": b"-1" + b"0" * 30,
    "digits": b"9" * 5000,
    "1e400": b"1e400",
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "number as text": b'"1"',
    "many digits as text": b'"' + b"9" * 400 + b'"',
    "other digits": '"٣४"'.encode(),
    "empty": b'""',
    "blank": b'" \\t "',
    "huge": json.dumps(HUGE_TEXT).encode(),
    "controls": b'"a\\u0001\\u001b[31m\\r\\nb"',
    "raw control": b'"a\x01b"',
    "NUL": b'"a\\u0000b"',
    "escaped backslash": b'"a\\\\u0000b"',
    "lone surrogate": b'"a\\ud800b"',
    "not UTF-8": b'"a\xff\xfe\xc0\xafb"',
    "four bytes": '"\U0001f4a5\U0010ffff"'.encode(),
    "right to left": '"\u202eevil\u2066\ufeff\u2028"'.encode(),
    "path": b'"../../../../etc/passwd"',
    "markup": b'"<script>alert(1)</script>"',
    "SQL": b'"x\'; DROP TABLE identity.user; --"',
    "template": b'"%s%n${jndi:ldap://x}{{7*7}}{0}"',
    "list": b"[]",
    "list of lists": b"[[[[1]]]]",
    "many": b"[" + b",".join([b"1"] * 5000) + b"]",
    "many texts": b"[" + b",".join(b'"t%d"' % n for n in range(5000)) + b"]",
    "object": b"{}",
    "strange names": b'{"": 1, "__proto__": {}, "a/b": null, "\\u202e": "x"}',
    "many names": b"{" + b",".join(b'"n%d": "v"' % n for n in range(2000)) + b"}",
    "nested": b'{"a":' * 20 + b"1" + b"}" * 20,
}
_HOLE: Final = "@hole@"


def broken(body: Any) -> Iterator[tuple[str, bytes]]:
    """Bodies no route can take: not JSON at all, or not what any of them is made of."""
    good = msgspec.json.encode(body)
    yield "empty", b""
    yield "blank", b" \r\n "
    yield "half", good[: len(good) // 2]
    yield "without its end", good[:-1]
    yield "more behind", good + b"}"
    yield "twice", good + good
    yield "not JSON", b"<xml/>"
    yield "single quotes", good.replace(b'"', b"'") if b'"' in good else b"'"
    yield "form", b"a=b&c=d"
    yield "UTF-16", good.decode().encode("utf-16")
    yield "a number", b"1"
    yield "a text", b'"x"'
    yield "null", b"null"
    yield "the wrong outer type", b"{}" if isinstance(body, list) else b"[]"
    yield "NUL bytes", b"\0" * 100
    yield "deep lists", b"[" * DEEP
    yield "deep and closed", b"[" * DEEP + b"]" * DEEP
    yield "deep objects", b'{"a":' * DEEP
    yield "deep inside", _first_member(body, b"[" * DEEP + b"]" * DEEP)
    yield "broken escape", b'{"a": "\\x"}'
    yield "broken unicode", b'{"\xff": "\xc3\x28"}'


def _first_member(body: Any, value: bytes) -> bytes:
    name = next(iter(body), "a") if isinstance(body, dict) else "a"
    inner = b"{" + json.dumps(name).encode() + b": " + value + b"}"
    return b"[" + inner + b"]" if isinstance(body, list) else inner


def spoiled(body: Any, kind: Any = None) -> Iterator[tuple[str, bytes]]:
    """The body with one value replaced, for every value in it and every member its type knows.

    Each place gets two thirds of the hostile values, neighbours not the same ones. ``kind`` is the body's
    type, for members that the body leaves out.
    """
    unsaid = _absent(body, msgspec.inspect.type_info(kind)) if kind is not None else ()
    for n, path in enumerate([*_paths(body), *unsaid]):
        frame = json.dumps(_with(body, path, _HOLE), ensure_ascii=False).encode()
        start, _, end = frame.partition(f'"{_HOLE}"'.encode())
        where = "/".join(map(str, path))
        for m, (label, value) in enumerate(VALUES.items()):
            if (n + m) % 3:
                yield f"{where} {label}", start + value + end


def scrambled(body: Any, seed: str, times: int) -> Iterator[tuple[str, bytes]]:
    """The body with two to four values replaced at once, ``times`` times; the same for the same seed."""
    chance = random.Random(seed)
    labels = list(VALUES)
    for _ in range(times):
        found, said, fills = body, [], []
        for hole in range(chance.randint(2, 4)):
            path = chance.choice(list(_paths(found)) or [()])
            if not path:
                break
            label = chance.choice(labels)
            found = _with(found, path, f"{_HOLE}{hole}")
            said.append(f"{'/'.join(map(str, path))} {label}")
            fills.append(VALUES[label])
        text = json.dumps(found, ensure_ascii=False).encode()
        for hole, value in enumerate(fills):
            text = text.replace(f'"{_HOLE}{hole}"'.encode(), value)
        yield ", ".join(said), text


def misnamed(body: Any) -> Iterator[tuple[str, bytes]]:
    """Objects with a member nobody knows, with a member twice, without a member."""
    for path in [(), *_paths(body)]:
        found = _at(body, path)
        if not isinstance(found, dict):
            continue
        where = "/".join(map(str, path))
        yield f"{where} unknown", msgspec.json.encode(_with(body, (*path, "no_such_member"), "x"))
        yield f"{where} empty", msgspec.json.encode(_with(body, path, {}))
        for name in found:
            less = {key: value for key, value in found.items() if key != name}
            yield f"{where} without {name}", msgspec.json.encode(_with(body, path, less))
            frame = msgspec.json.encode(_with(body, path, {**less, _HOLE: 1}))
            twice = (
                msgspec.json.encode({name: found[name]})[1:-1]
                + b","
                + msgspec.json.encode({name: None})[1:-1]
            )
            yield f"{where} twice {name}", frame.replace(b'"' + _HOLE.encode() + b'":1', twice)


def _paths(body: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    members = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for name, value in members:
        yield (*path, name)
        yield from _paths(value, (*path, name))


def _at(body: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        body = body[name]
    return body


def _with(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    first, *rest = path
    if isinstance(body, list):
        return [_with(one, tuple(rest), value) if n == first else one for n, one in enumerate(body)]
    return {**body, first: _with(body.get(first), tuple(rest), value)}


def _absent(body: Any, kind: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The members that a type has and the body has not."""
    if isinstance(kind, msgspec.inspect.UnionType):
        for one in kind.types:
            yield from _absent(body, one, path)
    elif isinstance(kind, msgspec.inspect.StructType) and isinstance(body, dict):
        for field in kind.fields:
            if field.encode_name in body:
                yield from _absent(body[field.encode_name], field.type, (*path, field.encode_name))
            else:
                yield (*path, field.encode_name)
    elif isinstance(kind, msgspec.inspect.ListType) and isinstance(body, list):
        for n, one in enumerate(body):
            yield from _absent(one, kind.item_type, (*path, n))
