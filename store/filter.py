"""Conditions on columns that clients choose by name: which tests there are, and their SQL.

Columns and tests are constants of the calling modules, values always parameters. No table knowledge here.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from msgspec import Struct

Test = Literal[
    "=",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "is null",
    "contains",
    "starts",
    "ends",
    "icontains",
    "istarts",
    "iends",
    "iexact",
    "has all",
    "has any",
    "lacks all",
    "lacks any",
]

_SQL: Final[Mapping[Test, str]] = {
    "=": "{column} = {value}",
    "!=": "{column} <> {value}",
    "<": "{column} < {value}",
    "<=": "{column} <= {value}",
    ">": "{column} > {value}",
    ">=": "{column} >= {value}",
    "is null": "({column} IS NULL) = {value}",
    "contains": "strpos({column}, {value}) > 0",
    "starts": "starts_with({column}, {value})",
    "ends": "right({column}, length({value})) = {value}",
    "icontains": "strpos(lower({column}), lower({value})) > 0",
    "istarts": "starts_with(lower({column}), lower({value}))",
    "iends": "right(lower({column}), length({value})) = lower({value})",
    "iexact": "lower({column}) = lower({value})",
    "has all": "{column} @> {value}::text[]",
    "has any": "{column} && {value}::text[]",
    "lacks all": "NOT {column} @> {value}::text[]",
    "lacks any": "NOT {column} && {value}::text[]",
}


class Condition(Struct, frozen=True):
    """A row passes when its column passes the test. "lacks all": not all of the values are there."""

    column: str
    test: Test
    value: str | float | bool | list[str]


def clause(condition: Condition, parameter: str) -> str:
    """The SQL of one condition; ``parameter`` is the place of its value."""
    return _SQL[condition.test].format(column=condition.column, value=parameter)


def clauses(conditions: Sequence[Condition], first: int) -> list[str]:
    """The SQL of all, their values being the parameters from number ``first`` on."""
    return [clause(condition, f"${n}") for n, condition in enumerate(conditions, start=first)]
