"""A client's Idempotency-Key on the calls that begin an operation: the same key must mean the same body.

The operation's id is derived from the key (gateway.request), so a repetition finds what the first request
began; here is only the check that the repetition is one.
"""

import hashlib
from typing import Final

import msgspec

from gateway.problem import Problem
from gateway.request import IDEMPOTENCY_HEADER, Request
from protocol.ids import OperationId
from store.compute import begin_keyed, operation_began

_encode: Final = msgspec.json.Encoder(order="deterministic").encode


async def begun_before(request: Request, operation: OperationId, *others: str) -> bool:
    """Whether a request with this key was accepted already: ``operation`` (or one of ``others``) exists.

    Without a key always False. Raises Problem 409 when the key came with another body before.
    """
    if IDEMPOTENCY_HEADER not in request.headers:
        return False
    body = hashlib.sha256(_encode(request.body)).hexdigest()
    services = request.services
    async with services.pool.acquire() as connection:
        if await begin_keyed(connection, operation, body, services.clock.now()) != body:
            raise Problem(409, f"This {IDEMPOTENCY_HEADER} was used with a different request body before.")
        return await operation_began(connection, [operation, *others])
