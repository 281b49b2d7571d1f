"""What the API has and this cloud has none of yet: lists that are empty, and calls answered 501.

A list is empty because nothing of the kind can exist here, not because it was not looked up.
"""

from collections.abc import Awaitable, Callable

from gateway.compute.server.find import server_of
from gateway.problem import Problem
from gateway.request import Request, Response


def none_of(member: str) -> Callable[[Request], Awaitable[Response]]:
    """A list of things that cannot exist here."""

    async def list_none(request: Request) -> Response:
        if "server_id" in request.params:
            await server_of(request)
        return Response({member: []})

    return list_none


def not_found(kind: str, parameter: str) -> Callable[[Request], Awaitable[Response]]:
    """One of the things that cannot exist here: 404."""

    async def find_none(request: Request) -> Response:
        raise Problem(404, f"{kind} {request.params[parameter]} could not be found.")

    return find_none


def not_yet(what: str) -> Callable[[Request], Awaitable[Response]]:
    """A call this cloud does not serve yet: 501, so that a client can tell it from a mistake of its own."""

    async def refuse(request: Request) -> Response:
        if "server_id" in request.params:
            await server_of(request)
        raise Problem(501, f"{what} is not implemented by this cloud yet.")

    return refuse
