"""Sharing: the projects that may see an image, and what they make of it.

The owner adds and removes members; each member says for itself whether it accepts.
Source: Image API v2, "Sharing".
"""

from typing import Any, get_args

from msgspec import Struct

from gateway.image.access import image_for_change, no_image, visible
from gateway.image.limits import MEMBERS_MAX
from gateway.policy import Target
from gateway.problem import Problem
from gateway.request import Request, Response
from protocol.view import stamp
from store.image import (
    ImageRow,
    MemberExists,
    MemberRow,
    MemberStatus,
    add_member,
    members,
    remove_member,
    set_member_status,
)

PROJECT_LENGTH_MAX = 255


class AddBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to share with."""

    member: str


class StatusBody(Struct, frozen=True, forbid_unknown_fields=True):
    """What the member makes of it. ``member`` is repeated by clients; the path says it."""

    status: str
    member: str = ""


def _shown(row: MemberRow) -> dict[str, Any]:
    return {
        "member_id": row.member_id,
        "image_id": row.image_id,
        "status": row.status,
        "created_at": stamp(row.created_at),
        "updated_at": stamp(row.updated_at),
        "schema": "/v2/schemas/member",
    }


def _no_member(member: str, ident: str) -> Problem:
    return Problem(404, f"{member[:PROJECT_LENGTH_MAX]} not found in the member list of the image {ident}.")


def _owns(request: Request, row: ImageRow) -> bool:
    return request.allows("image:get_members", Target(project_id=row.owner))


async def _members_seen(request: Request) -> tuple[ImageRow, list[MemberRow]]:
    """The image and the members the caller may know of. Raises Problem 404."""
    row = await visible(request)
    only = None if _owns(request, row) else request.caller.project_id
    async with request.services.read_pool.acquire() as c:
        found = await members(c, row.id, only=only)
    if only is not None and (not found or row.visibility != "shared"):
        raise no_image(row.id)
    return row, found


def _check_shared(row: ImageRow) -> None:
    if row.visibility != "shared":
        raise Problem(403, "Only shared images have members.")


async def list_members(request: Request) -> Response:
    """All members for the owner, itself alone for a member."""
    row, found = await _members_seen(request)
    _check_shared(row)
    return Response({"members": [_shown(row) for row in found], "schema": "/v2/schemas/members"})


async def show_member(request: Request) -> Response:
    """One member."""
    row, found = await _members_seen(request)
    if row.visibility != "shared":
        raise no_image(row.id)
    wanted = request.params["member_id"]
    for member in found:
        if member.member_id == wanted:
            return Response(_shown(member))
    raise _no_member(wanted, row.id)


async def create_member(request: Request) -> Response:
    """Share the image with a project."""
    row = await image_for_change(request)
    member = request.body.member
    _check_shared(row)
    if not 0 < len(member) <= PROJECT_LENGTH_MAX:
        raise Problem(400, f"A member is the id of a project, 1 to {PROJECT_LENGTH_MAX} characters.")
    try:
        async with request.services.pool.acquire() as c:
            added = await add_member(c, row.id, member, request.services.clock.now(), members_max=MEMBERS_MAX)
    except MemberExists as error:
        raise Problem(409, f"Image {row.id} is shared with {member} already.") from error
    if added is None:
        raise Problem(413, f"The limit of {MEMBERS_MAX} members has been exceeded.")
    return Response(_shown(added))


async def update_member(request: Request) -> Response:
    """Accept or reject, as the member."""
    row = await visible(request)
    member, status = request.params["member_id"], request.body.status
    request.authorize(Target(project_id=member))
    _check_shared(row)
    known: MemberStatus | None = next((word for word in get_args(MemberStatus) if word == status), None)
    if known is None:
        raise Problem(400, f"The status of a member is one of {', '.join(get_args(MemberStatus))}.")
    async with request.services.pool.acquire() as c:
        changed = await set_member_status(c, row.id, member, known, request.services.clock.now())
    if changed is None:
        raise _no_member(member, row.id)
    return Response(_shown(changed))


async def delete_member(request: Request) -> Response:
    """End the sharing with a project."""
    row = await image_for_change(request)
    _check_shared(row)
    member = request.params["member_id"]
    async with request.services.pool.acquire() as c:
        if not await remove_member(c, row.id, member):
            raise _no_member(member, row.id)
    return Response()
