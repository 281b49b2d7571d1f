"""An image as others see it: the Image API's JSON, the typed columns of its row, the data of its events."""

from typing import Any

import msgspec

from actors.image.model import ACTIVE, DEACTIVATED, Image, held
from protocol.image import store_of
from protocol.view import stamp


def image_json(image: Image) -> bytes:
    """The image as Image API v2 shows it; ``owner`` and links as paths, properties at the top level."""
    record = image.record
    shown: dict[str, Any] = dict(record.properties)
    complete = image.life in (ACTIVE, DEACTIVATED)
    shown |= {
        "id": image.id,
        "name": record.name,
        "status": image.life,
        "visibility": record.visibility,
        "owner": image.owner,
        "protected": record.protected,
        "os_hidden": record.hidden,
        "tags": list(record.tags),
        "disk_format": record.disk_format,
        "container_format": record.container_format,
        "min_disk": record.min_disk,
        "min_ram": record.min_ram,
        "size": image.size_bytes,
        "virtual_size": image.virtual_size_bytes if complete else None,
        "checksum": image.md5 if complete else None,
        "os_hash_algo": "sha512" if complete else None,
        "os_hash_value": image.sha512 if complete else None,
        "created_at": stamp(image.created_at),
        "updated_at": stamp(image.updated_at),
        "self": f"/v2/images/{image.id}",
        "file": f"/v2/images/{image.id}/file",
        "schema": "/v2/schemas/image",
        **_stores(image),
    }
    return msgspec.json.encode(shown)


def _stores(image: Image) -> dict[str, str]:
    """Where the data is, and the stores an import fills or could not fill."""
    shown: dict[str, str] = {}
    if image.locations:
        shown["stores"] = ",".join(map(store_of, image.locations))
    if image.importing is not None:
        shown["os_glance_importing_to_stores"] = ",".join(image.importing.todo)
    failed = image.importing.failed if image.importing is not None else image.failed_stores
    if failed or image.importing is not None:
        shown["os_glance_failed_import"] = ",".join(failed)
    if image.task is not None:
        shown["os_glance_import_task"] = image.task.operation
    return shown


def columns(image: Image) -> tuple[Any, ...]:
    """The typed columns of ``image.image``, in the order of store.kinds."""
    record = image.record
    return (
        image.owner,
        record.name,
        image.life,
        record.visibility,
        record.hidden,
        record.protected,
        record.disk_format,
        record.container_format,
        image.size_bytes,
        list(image.locations),
        list(held(image)),
        image.created_at,
        image.updated_at,
        image_json(image).decode(),
    )


def summary(image: Image) -> bytes:
    """The data of an event about this image."""
    told = {"id": image.id, "name": image.record.name, "status": image.life, "received": image.received}
    return msgspec.json.encode(told)
