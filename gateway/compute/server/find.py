"""Finding the server a path speaks of: 404 unless the caller may see it, 403 unless the rule allows."""

from gateway.compute.query import pool
from gateway.policy import Target
from gateway.problem import Problem
from gateway.request import Request
from store.server import ServerRow, server


def no_such_server(ident: str) -> Problem:
    """404 in Nova's words."""
    return Problem(404, f"Instance {ident} could not be found.")


async def server_of(request: Request, *, rule: str = "", gone: bool = False) -> ServerRow:
    """The server ``{server_id}``, visible to the caller and allowed by the route's rule (or ``rule``).

    ``gone``: also one that was deleted. Raises Problem 404 or 403.
    """
    ident = request.params["server_id"]
    async with pool(request).acquire() as connection:
        row = await server(connection, ident, gone=gone)
    caller = request.caller
    if row is None or not (caller.is_admin or row.project_id == caller.project_id):
        raise no_such_server(ident)
    request.authorize(Target(project_id=row.project_id, user_id=row.user_id), rule)
    return row
