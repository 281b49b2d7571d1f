"""A client's Idempotency-Key on the calls that begin an operation: the same key must mean the same body.

The operation's id is derived from the key (gateway.request), so a repetition finds what the first request
began; here are only the check that the repetition is one, and what it finds.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from gateway.commands import Unavailable
from gateway.problem import Problem
from gateway.request import IDEMPOTENCY_HEADER, Request
from protocol.ids import OperationId
from store.compute import begin_keyed, end_keyed, operations_begun

_encode: Final = msgspec.json.Encoder(order="deterministic").encode
_POLL_S: Final = 0.05


@asynccontextmanager
async def keyed(request: Request, operation: OperationId) -> AsyncIterator[None]:
    """The work on a request: when it is refused its key is free again, for a body that is better."""
    try:
        yield
    except Problem:
        if IDEMPOTENCY_HEADER in request.headers:
            async with request.services.pool.acquire() as connection:
                await end_keyed(connection, operation)
        raise


async def begun_before(request: Request, operation: OperationId, kind: str) -> bool:
    """Whether a request with this key was accepted already and is with an actor of this kind.

    Without a key always False. Raises Problem 409 when the key came with another body before, and
    Unavailable.
    """
    return bool(await begun_of(request, operation, [operation], kind))


async def begun_of(
    request: Request, operation: OperationId, parts: Sequence[str], kind: str
) -> frozenset[str]:
    """The operations among ``parts`` of a repeated request that are with an actor of this kind.

    One that is still on its way there, from a gateway that is no more perhaps, is waited for: who is told
    "accepted" must find it. Raises as ``begun_before`` does.
    """
    if IDEMPOTENCY_HEADER not in request.headers:
        return frozenset()
    await _check_body(request, operation)
    services = request.services
    until = services.clock.monotonic() + services.settings.command_timeout_s
    while True:
        async with services.pool.acquire() as connection:
            found = await operations_begun(connection, parts)
        if all(subject.startswith(f"{kind}/") for subject in found.values()):
            return frozenset(found)
        if services.clock.monotonic() > until:
            raise Unavailable("what an earlier request began is still on its way; ask again")
        await asyncio.sleep(_POLL_S)


async def _check_body(request: Request, operation: OperationId) -> None:
    body = hashlib.sha256(_encode(request.body)).hexdigest()
    services = request.services
    async with services.pool.acquire() as connection:
        if await begin_keyed(connection, operation, body, services.clock.now()) != body:
            raise Problem(409, f"This {IDEMPOTENCY_HEADER} was used with a different request body before.")
