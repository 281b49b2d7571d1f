"""Rows a storm needs and no API makes cheaply."""

import uuid

import asyncpg
import msgspec

from actors.image.model import Image
from actors.image.view import columns
from protocol.ids import address, partition_of
from protocol.image import ImageRecord
from store.kinds import TABLES


async def make_image(database: str, project: str, partitions: int = 16) -> str:
    """An image that simulated hosts need not download: a row is all they ask for. Its id."""
    image = Image(
        id=str(uuid.uuid4()),
        life="active",
        version=1,
        owner=project,
        size_bytes=1,
        md5="0" * 32,
        sha512="0" * 128,
        locations=("file:none",),
        record=ImageRecord(name="chaos", visibility="public", disk_format="qcow2", container_format="bare"),
    )
    partition = partition_of(address("image", image.id), partitions)
    row = (image.id, partition, 1, msgspec.json.encode(image).decode(), None, False, *columns(image))
    table = TABLES["image"]
    names = ["id", "partition", "version", "state", "due_at", "gone", *(name for name, _ in table.columns)]
    places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({places})", *row)
    finally:
        await connection.close()
    return image.id
