"""Pages of a sorted list: the SQL that orders by several keys and begins after a marker row.

Expressions are constants of the calling module, never a client's text, and never NULL; the last key must
tell any two rows apart.
"""

from collections.abc import Sequence

from msgspec import Struct


class Key(Struct, frozen=True):
    """One key to order by."""

    expression: str
    descending: bool


def order_by(keys: Sequence[Key]) -> str:
    """The ORDER BY clause."""
    return "ORDER BY " + ", ".join(f"{key.expression} {'DESC' if key.descending else 'ASC'}" for key in keys)


def after(keys: Sequence[Key], source: str, marker: str) -> str:
    """The condition that a row comes after the row of ``source`` whose id is the parameter ``marker``.

    False for every row when there is no such row.
    """
    values = [f"(SELECT {key.expression} FROM {source} WHERE r.id = {marker})" for key in keys]  # noqa: S608
    steps = []
    for i, key in enumerate(keys):
        same = [f"{keys[j].expression} = {values[j]}" for j in range(i)]
        beyond = f"{key.expression} {'<' if key.descending else '>'} {values[i]}"
        steps.append(" AND ".join([*same, beyond]))
    return "(" + " OR ".join(f"({step})" for step in steps) + ")"
