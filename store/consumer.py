"""OAuth 1 consumers."""

from typing import ClassVar

from store.identity import Row


class Consumer(Row, frozen=True, kw_only=True):
    """A program; ``secret`` is sealed."""

    table: ClassVar[str] = "identity.consumer"

    description: str | None = None
    secret: str
