"""``GET /v1/events``: what happens, as it happens, and from where a client left off.

A client that comes with a cursor is first told what it missed, read from the log, and then joins the
tail; a cursor from before the log's beginning is answered with an explicit ``reset``.
"""

import asyncio
from typing import Final

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.auth import Caller
from gateway.own.cursor import Cursors, NotACursor
from gateway.own.frame import (
    TYPE_PREFIX,
    Audience,
    Position,
    event_frame,
    heartbeat,
    in_order,
    notice,
)
from gateway.own.tail import POLL_S, EventTail, Subscriber
from gateway.problem import Problem
from gateway.request import Request
from store.event import LoggedEvent, events, extent
from store.pool import Pool

HEARTBEAT_S: Final = 15.0
WRITE_TIMEOUT_S: Final = 30.0
"""How long a subscriber may leave us waiting while it is told what it missed."""
FAREWELL_S: Final = 2.0
PAGE: Final = 200
START: Final = "start"
"""In place of a cursor: before the oldest event that is kept."""
FILTERS_MAX: Final = 32
FILTER_LENGTH_MAX: Final = 255
RETRY_MS: Final = 1000

_REASONS: Final = {
    "slow": "You read too slowly; come back with the last id you have seen.",
    "token": "Your token has expired or was revoked; come back with another.",
    "shutdown": "This gateway ends; come back and another will answer.",
    "failed": "The stream failed on our side; come back with the last id you have seen.",
}


class EventQuery(Struct, frozen=True, kw_only=True):
    """``after``: a cursor, for clients that cannot send Last-Event-ID; ``start``: what is oldest."""

    after: str = ""
    type: list[str] = []
    subject: list[str] = []
    all_projects: str = ""


def audience_of(query: EventQuery, caller: Caller) -> Audience:
    """Whom the stream is for. Raises Problem 400 or 403."""
    every = query.all_projects.lower() in ("1", "true")
    if every and not caller.is_admin:
        raise Problem(403, "Only an admin may follow all projects.")
    if not every and not caller.project_id:
        raise Problem(400, "The token is for no project: ask with all_projects=1.")
    patterns = [*query.type, *query.subject]
    if len(patterns) > FILTERS_MAX or any(not 0 < len(text) <= FILTER_LENGTH_MAX for text in patterns):
        raise Problem(400, f"There may be {FILTERS_MAX} filters of 1 to {FILTER_LENGTH_MAX} characters.")
    if any("*" in text[:-1] for text in query.type):
        raise Problem(400, "A type is exact or ends in one '*', as in instance.*")
    types = sorted({text.removeprefix(TYPE_PREFIX) for text in query.type})
    return Audience(None if every else caller.project_id, tuple(types), tuple(sorted(set(query.subject))))


async def stream_events(request: Request) -> web.StreamResponse:
    """Tell events until the client goes, or is let go."""
    query: EventQuery = request.query
    audience = audience_of(query, request.caller)
    tail = tail_of(request)
    asked = request.headers.get("Last-Event-ID", "") or query.after
    async with tail.used() as end:
        position = await _position(request, asked, tail.cursors, end)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        response = await request.stream(200, headers, "text/event-stream")
        told = await _Stream(request, response, tail, audience, end).run(position)
        await _farewell(request, response, told)
        return response


def tail_of(request: Request) -> EventTail:
    """The process's event tail. Raises Problem 503 when it takes nobody."""
    tail = request.services.events
    if tail is None or tail.full:
        raise Problem(503, "This gateway takes no more subscribers now.", headers={"Retry-After": "2"})
    return tail


async def _position(request: Request, asked: str, cursors: Cursors, end: Position) -> Position:
    """Where to begin: at the cursor, at the oldest event that is kept, or at the end. Raises Problem 400."""
    if not asked:
        return Position(end.numbers, cursors)
    if asked == START:
        async with request.services.read_pool.acquire() as c:
            return Position((await extent(c)).before_first, cursors)
    try:
        return Position(cursors.decode(asked, len(end.numbers)), cursors)
    except NotACursor as error:
        raise Problem(400, "This is no cursor of this event stream.") from error


async def _farewell(request: Request, response: web.StreamResponse, reason: str) -> None:
    """Say why, if the client still listens; never wait long for it."""
    transport = request.raw.transport
    if transport is None or transport.is_closing() or reason not in _REASONS:
        return
    last = b"event: end\ndata: %b\n\n" % msgspec.json.encode({"code": reason, "reason": _REASONS[reason]})
    try:
        async with asyncio.timeout(FAREWELL_S):
            await response.write(last)
            await response.write_eof()
    except (TimeoutError, ConnectionError):
        transport.abort()


class _SlowReader(Exception):  # noqa: N818  named for who is meant
    """The client does not take what it is told."""


class _Stream:
    """One client's stream, from its cursor to its end."""

    def __init__(
        self,
        request: Request,
        response: web.StreamResponse,
        tail: EventTail,
        audience: Audience,
        end: Position,
    ) -> None:
        self._request, self._response, self._tail = request, response, tail
        self._audience, self._end = audience, end
        self._pool: Pool = request.services.read_pool

    async def run(self, position: Position) -> str:
        """Tell everything; why it ended: a key of _REASONS or ``gone``."""
        transport = self._request.raw.transport
        if transport is None:
            return "gone"
        chunked = self._response.headers.get("Transfer-Encoding") == "chunked"
        subscriber = Subscriber(transport, self._audience, chunked=chunked)
        try:
            await self._write(b"retry: %d\n\n" % RETRY_MS)
            position = await self._caught_up(position)
            # No waiting between the comparison in _caught_up and here: nothing can come between.
            self._tail.join(subscriber)
            await self._write(notice("position", position.cursor, {}))
            return await self._live(subscriber)
        except _SlowReader:
            return "slow"
        except ConnectionError:
            return "gone"
        finally:
            self._tail.leave(subscriber)

    async def _write(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await self._response.write(data)
        except TimeoutError as error:
            raise _SlowReader from error

    async def _caught_up(self, position: Position) -> Position:
        """Tell what was missed; where the end was when there was nothing more."""
        while position.numbers != self._end.numbers:
            goal = list(self._end.numbers)
            found = await self._page(position, goal)
            if found is None:
                position = Position(self._end.numbers, self._tail.cursors)
                reason = {
                    "reason": "Events after this cursor are no longer kept: read the present state anew."
                }
                await self._write(notice("reset", position.cursor, reason))
                continue
            frames = self._passed(position, goal, found)
            if frames:
                await self._write(b"".join(frames))
            elif all(at >= last for at, last in zip(position.numbers, goal, strict=True)):
                # The client has seen more than this process yet: its cursor came from another gateway.
                await asyncio.sleep(POLL_S)
        return position

    async def _page(self, position: Position, goal: list[int]) -> list[LoggedEvent] | None:
        """The next events up to ``goal``; None when some after the position are no longer there."""
        async with self._pool.acquire() as c:
            held = await extent(c)
            for at, first, last in zip(position.numbers, held.before_first, held.last, strict=True):
                if not first <= at <= last:
                    return None
            return await events(c, position.numbers, goal, limit=PAGE, project=self._audience.project)

    def _passed(self, position: Position, goal: list[int], found: list[LoggedEvent]) -> list[bytes]:
        """Move the position past a page; the frames of what this audience wants of it."""
        frames: list[bytes] = []
        counts = [0] * len(goal)
        for event in in_order(found):
            position.move(event.partition, event.n)
            counts[event.partition] += 1
            if self._audience.wants(event):
                ident = self._tail.cursors.event_id(event.partition, event.n)
                frames.append(event_frame(event, ident, position.cursor))
        for partition, last in enumerate(goal):
            if counts[partition] < PAGE and last > position.numbers[partition]:
                position.move(partition, last)
        return frames

    async def _live(self, subscriber: Subscriber) -> str:
        """Wait for the end, with a sign of life and a look at the token now and then."""
        while True:
            done, _ = await asyncio.wait([subscriber.ended], timeout=HEARTBEAT_S)
            if done:
                return subscriber.ended.result()
            if not await self._token_good():
                return "token"
            await self._write(heartbeat(self._end.cursor))

    async def _token_good(self) -> bool:
        tokens = self._request.services.tokens
        token = self._request.headers.get("X-Auth-Token", "")
        return bool(tokens.cached(token) or await tokens.verify(token))
