"""Which part of a list of metadata definitions is asked for."""

from collections.abc import Mapping
from typing import Final

from multidict import MultiMapping

from gateway.pages import SortKey, sort_in
from store.keyset import Key

_NEWEST_FIRST: Final = (SortKey("created_at", descending=True),)


def order_in(query: MultiMapping[str], columns: Mapping[str, str]) -> list[Key]:
    """The order as SQL, newest first unless asked; the age decides between equals. Raises Problem 400."""
    sort = sort_in(query, columns.keys(), _NEWEST_FIRST)
    keys = [Key(columns[key.name], key.descending) for key in sort]
    if any(key.name == "id" for key in sort):
        return keys
    return [*keys, Key(columns["id"], sort[0].descending)]
