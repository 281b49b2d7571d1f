"""Image records over HTTP: create, show, change, delete, and tags.

A change reads the record, applies what was asked and sends the whole record with the version it was
derived from; when another change came between, it begins again. Source: Image API v2, "Images".
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

import structlog
from msgspec.structs import replace

from gateway.image.access import image_for_change, no_image, viewer, visible
from gateway.image.limits import TAGS_MAX
from gateway.image.patch import changed, changes_in, owner_in
from gateway.image.quota import check_count
from gateway.image.record import check_tag, created, record_of
from gateway.image.store import StoreFailed, StoreFull
from gateway.problem import Problem
from gateway.request import Request, Response, forbidden
from protocol.command import Command
from protocol.ids import address, derived
from protocol.image import (
    CreateImage,
    DeactivateImage,
    DeleteImage,
    DropCopy,
    ImageRecord,
    ReactivateImage,
    UpdateImage,
    store_of,
)
from store.image import ImageRow, image

REVISIONS_MAX: Final = 8
"""Attempts of one change that others got in the way of."""
STORE_SHOWN_MAX: Final = 64
PUBLICIZE: Final = "image:publicize_image"
COMMUNITIZE: Final = "image:communitize_image"

CreateBody = dict[str, Any]
PatchBody = list[dict[str, Any]]
Revise = Callable[[ImageRecord, ImageRow], ImageRecord]

_log = structlog.get_logger(service="image")


def _check_visibility(request: Request, visibility: str) -> None:
    """Raises Problem 403 for a visibility the caller may not give."""
    if visibility == "public":
        _require(request, PUBLICIZE)
    elif visibility == "community":
        _require(request, COMMUNITIZE)


def _require(request: Request, rule: str) -> None:
    if not request.allows(rule):
        raise forbidden(rule)


async def create_image(request: Request) -> Response:
    """Make a record; the data comes later."""
    asked = created(request.body)
    caller = request.caller
    if asked.owner not in (None, caller.project_id) and not caller.is_admin:
        raise Problem(403, f"You are not permitted to create images owned by '{asked.owner}'.")
    _check_visibility(request, asked.record.visibility)
    by = request.said_by()
    if asked.owner is not None:
        by = replace(by, project=asked.owner)
    await check_count(request, by.project)
    operation = request.operation()
    ident = asked.ident or derived(operation, "image")
    try:
        await request.command(
            address("image", ident), CreateImage(by=by, image=ident, record=asked.record), operation
        )
    except Problem as problem:
        if problem.status != 404:  # noqa: PLR2004  the id belonged to an image that is gone
            raise
        raise Problem(409, f"An image with identifier {ident} already exists") from problem
    row = await _now(request, ident)
    location = f"{request.api_url}/v2/images/{ident}"
    headers = {
        "Location": location,
        "OpenStack-image-store-ids": ",".join(store.name for store in request.services.images),
    }
    return Response(row.view.encode(), headers=headers)


async def _now(request: Request, ident: str) -> ImageRow:
    """The image as the last commit has it. Raises Problem 404."""
    async with request.services.pool.acquire() as c:
        row = await image(c, ident, viewer(request))
    if row is None:
        raise no_image(ident)
    return row


async def show_image(request: Request) -> Response:
    """One image."""
    return Response((await visible(request)).view.encode())


async def revised(request: Request, revise: Revise, *, owner: str = "") -> ImageRow:
    """Change the image's record by ``revise``, perhaps its owner, and return it as it is then.

    Raises Problem.
    """
    row = await image_for_change(request)
    operation: str = request.operation()
    for attempt in range(REVISIONS_MAX):
        before = record_of(row.view)
        after = revise(before, row)
        if after == before and owner in ("", row.owner):
            return row
        if after.visibility != before.visibility:
            _check_visibility(request, after.visibility)
        message = UpdateImage(by=request.said_by(), record=after, seen=row.version, owner=owner)
        try:
            await _tell(
                request, row.id, message, operation if not attempt else derived(operation, str(attempt))
            )
        except Problem as problem:
            now = await _now(request, row.id)
            if problem.status != 409 or now.version == row.version:  # noqa: PLR2004  refused for good
                raise
            row = now
            continue
        return await _now(request, row.id)
    raise Problem(409, f"Image {row.id} is being changed by others; please try again.")


async def _tell(request: Request, ident: str, message: Command, operation: str = "") -> None:
    await request.command(address("image", ident), message, operation)


async def update_image(request: Request) -> Response:
    """Apply a JSON patch."""
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    changes = changes_in(request.body, media_type)
    owner = owner_in(changes)
    if owner and not request.caller.is_admin:
        raise Problem(403, "Owner can't be updated by non admin.")
    row = await revised(request, lambda record, row: changed(record, changes, status=row.status), owner=owner)
    return Response(row.view.encode())


async def deactivate_image(request: Request) -> Response:
    """Keep the image's data from all but admins."""
    row = await image_for_change(request)
    await _tell(request, row.id, DeactivateImage(by=request.said_by()))
    return Response()


async def reactivate_image(request: Request) -> Response:
    """End a deactivation."""
    row = await image_for_change(request)
    await _tell(request, row.id, ReactivateImage(by=request.said_by()))
    return Response()


async def delete_image(request: Request) -> Response:
    """End the image, then remove its data; what cannot be removed now the sweep removes."""
    row = await image_for_change(request)
    await _tell(request, row.id, DeleteImage(by=request.said_by()))
    await _remove(request, row, row.held)
    return Response()


async def _remove(request: Request, row: ImageRow, locations: Iterable[str]) -> None:
    for location in locations:
        try:
            await request.services.images.delete(location)
        except (StoreFailed, StoreFull) as error:
            _log.warning("image.data_left", image=row.id, error=str(error))


async def delete_copy(request: Request) -> Response:
    """Remove the image's data from one of its stores."""
    store = request.params["store_id"]
    if store not in request.services.images:
        raise Problem(409, f"The selected store {store[:STORE_SHOWN_MAX]} is not available on this node.")
    row = await image_for_change(request)
    await _tell(request, row.id, DropCopy(by=request.said_by(), store=store))
    await _remove(request, row, [location for location in row.locations if store_of(location) == store])
    return Response()


async def put_tag(request: Request) -> Response:
    """Add a tag; an image that has it already keeps it."""
    tag = check_tag(request.params["tag"])

    def add(record: ImageRecord, _: ImageRow) -> ImageRecord:
        if tag in record.tags:
            return record
        if len(record.tags) >= TAGS_MAX:
            raise Problem(413, f"The limit of {TAGS_MAX} tags has been exceeded.")
        return replace(record, tags=(*record.tags, tag))

    await revised(request, add)
    return Response()


async def delete_tag(request: Request) -> Response:
    """Remove a tag."""
    tag = request.params["tag"]

    def remove(record: ImageRecord, _: ImageRow) -> ImageRecord:
        if tag not in record.tags:
            raise Problem(404, "The tag could not be found on this image.")
        return replace(record, tags=tuple(other for other in record.tags if other != tag))

    await revised(request, remove)
    return Response()
