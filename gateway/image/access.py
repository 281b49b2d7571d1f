"""Which image a request is about, and whether the caller may do this to it.

What is not visible does not exist (404); what is visible and not the caller's may not be changed (403).
"""

from gateway.policy import Target
from gateway.problem import Problem
from gateway.request import Request
from store.image import ImageRow, Viewer, image
from store.pool import Pool

IDENT_LENGTH_MAX = 64


def viewer(request: Request) -> Viewer:
    """The caller as someone who looks at images."""
    caller = request.caller
    return Viewer(caller.project_id, admin=caller.is_admin)


def no_image(ident: str) -> Problem:
    """404 in Glance's words."""
    return Problem(404, f"No image found with ID {ident[:IDENT_LENGTH_MAX]}")


async def visible(request: Request) -> ImageRow:
    """The image of the path. Raises Problem 404."""
    return await _seen(request, request.services.read_pool)


async def _seen(request: Request, pool: Pool) -> ImageRow:
    ident = request.params["image_id"]
    async with pool.acquire() as c:
        row = await image(c, ident, viewer(request))
    if row is None:
        raise no_image(ident)
    return row


async def image_for_change(request: Request) -> ImageRow:
    """The image of the path as it is now, which the route's rule lets the caller change.

    Raises Problem 403 or 404.
    """
    row = await _seen(request, request.services.pool)
    request.authorize(Target(project_id=row.owner))
    return row
