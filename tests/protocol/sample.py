"""A value of any type a message may hold, made from the type alone: the same for the same type and seed."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import msgspec
from msgspec import inspect

_TEXTS = ("plain", "with spaces", "zażółć gęślą jaźń", '"quoted"\\', "line\nbreak", "😀", "")


def full(kind: type[msgspec.Struct], seed: int = 0) -> Any:
    """A Struct with every field set, optional ones too."""
    return kind(**_fields(kind, count(seed), only_required=False))


def bare(kind: type[msgspec.Struct], seed: int = 0) -> Any:
    """A Struct with nothing set that has a default."""
    return kind(**_fields(kind, count(seed), only_required=True))


def _fields(kind: type[msgspec.Struct], numbers: Iterator[int], *, only_required: bool) -> dict[str, Any]:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    return {
        field.name: _value(field.type, numbers)
        for field in info.fields
        if field.required or not only_required
    }


_SIMPLE: dict[type[inspect.Type], Callable[[int], Any]] = {
    inspect.StrType: lambda n: f"{n} {_TEXTS[n % len(_TEXTS)]}",
    inspect.BoolType: lambda n: n % 2 == 0,
    inspect.IntType: lambda n: n - 3,
    inspect.FloatType: lambda n: n / 8,
    inspect.BytesType: lambda n: bytes([n % 256, 0, 255]),
}


def _value(kind: inspect.Type, numbers: Iterator[int]) -> Any:
    n = next(numbers)
    match kind:
        case inspect.StructType():
            return kind.cls(**_fields(kind.cls, numbers, only_required=False))
        case inspect.UnionType():
            chosen = [one for one in kind.types if not isinstance(one, inspect.NoneType)]
            return _value(chosen[n % len(chosen)], numbers)
        case inspect.LiteralType():
            return kind.values[n % len(kind.values)]
        case inspect.EnumType():
            return list(kind.cls)[n % len(kind.cls)]
        case inspect.VarTupleType():
            return tuple(_value(kind.item_type, numbers) for _ in range(2))
        case inspect.TupleType():
            return tuple(_value(one, numbers) for one in kind.item_types)
        case inspect.ListType():
            return [_value(kind.item_type, numbers) for _ in range(2)]
        case inspect.DictType():
            return {f"{n}": _value(kind.value_type, numbers), "": _value(kind.value_type, numbers)}
        case _:
            return _SIMPLE[type(kind)](n)
