"""What a project's images come to, for its limits. Reads the rows of the image actors; writes nothing."""

from typing import Final

from msgspec import Struct

from store.pool import Connection

_USAGE: Final = """
SELECT coalesce(sum(size_bytes * cardinality(locations)), 0)::bigint AS stored_bytes,
       coalesce(sum(size_bytes) FILTER (WHERE status IN ('uploading', 'importing')), 0)::bigint
           AS staged_bytes,
       count(*) AS images,
       count(*) FILTER (WHERE status IN ('saving', 'uploading', 'importing')) AS uploading
  FROM image.image WHERE owner = $1 AND NOT gone
"""


class ImageUsage(Struct, frozen=True):
    """Sizes in bytes: in the stores, and staged or on the way there; images, and those being filled."""

    stored_bytes: int
    staged_bytes: int
    images: int
    uploading: int


async def image_usage(c: Connection, project: str) -> ImageUsage:
    """The usage of one project. An image being filled has no size yet."""
    row = await c.fetchrow(_USAGE, project)
    return ImageUsage(0, 0, 0, 0) if row is None else ImageUsage(**dict(row.items()))
