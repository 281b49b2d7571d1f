"""Which namespace a request is about, and whether the caller may do this to it.

A namespace that is not visible does not exist (404); one that is may not be changed by everybody (403).
"""

from collections.abc import Awaitable, Callable

from gateway.image.access import viewer
from gateway.policy import Target
from gateway.problem import Problem
from gateway.request import Request, Response
from gateway.route import Handler
from store.metadef import Gone, NamespaceRow, Taken, namespace

Within = Callable[[Request, NamespaceRow], Awaitable[Response]]
"""A handler that is given the namespace of the path."""


def no_namespace(name: str) -> Problem:
    """404 in Glance's words."""
    return Problem(404, f"Namespace {name} not found")


def looking(handler: Within) -> Handler:
    """The handler of a route that reads; the route's own rule suffices."""

    async def handle(request: Request) -> Response:
        return await handler(request, await _namespace(request, fresh=False))

    return handle


def changing(handler: Within) -> Handler:
    """The handler of a route that changes something; the route's rule is asked with the namespace at hand."""

    async def handle(request: Request) -> Response:
        row = await _namespace(request, fresh=True)
        request.authorize(Target(project_id=row.owner))
        try:
            return await handler(request, row)
        except Taken as taken:
            raise Problem(409, f"There is another {taken} already.") from taken
        except Gone as gone:
            raise no_namespace(row.namespace) from gone

    return handle


async def _namespace(request: Request, *, fresh: bool) -> NamespaceRow:
    name = request.params["namespace"]
    pool = request.services.pool if fresh else request.services.read_pool
    async with pool.acquire() as c:
        row = await namespace(c, name, viewer(request))
    if row is None:
        raise no_namespace(name)
    return row


def check_unprotected(row: NamespaceRow) -> None:
    """Raises Problem 403: nothing is deleted of a protected namespace, nor it itself."""
    if row.protected:
        raise Problem(403, f"Metadata definition namespace {row.namespace} is protected.")
