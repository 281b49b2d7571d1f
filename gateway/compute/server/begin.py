"""Beginning an operation on a server: said once, however often the client repeats it under its key."""

from gateway.compute.idempotency import begun_before, keyed
from gateway.request import Request
from protocol.command import Command
from protocol.ids import OperationId, address
from store.server import ServerRow


async def begin(request: Request, row: ServerRow, command: Command) -> OperationId:
    """Tell the instance, unless a request under the same key did; the operation it is.

    Raises Problem when it is refused, Unavailable.
    """
    operation = request.operation()
    if not await begun_before(request, operation, "instance"):
        async with keyed(request, operation):
            await request.command(address("instance", row.id), command, operation)
    return operation
