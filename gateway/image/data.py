"""Taking image data in over HTTP: uploads, and staging for an import.

An upload is a conversation with the image's actor: BeginUpload takes the right to write, KeepUpload
says that it goes on, and FinishUpload or FailUpload ends it. Whatever happens, one of the two is tried;
if neither arrives the actor ends the upload by itself and the sweep removes the data.
Source: Image API v2, "Image data" and "Stage binary image data".
"""

import asyncio
import contextlib
from typing import Final

import structlog

from gateway.commands import Unavailable
from gateway.image.access import image_for_change
from gateway.image.inspect import Unsafe
from gateway.image.intake import Place, Wanted, taking_in
from gateway.image.limits import UPLOADS_MAX
from gateway.image.quota import check_upload
from gateway.image.record import record_of
from gateway.image.store import StoreFailed, StoreFull
from gateway.image.upload import refused
from gateway.problem import Problem
from gateway.request import Request, Response
from protocol.command import Command
from protocol.ids import address, derived
from protocol.image import BeginUpload, FailUpload, FinishUpload, ImageRecord, KeepUpload, StoredData

FINISH_TRIES: Final = 3
GIVE_UP_S: Final = 5.0
"""How long the word of a failed upload may take: the client is waiting for its answer."""
STORE_HEADER: Final = "X-Image-Meta-Store"
STORE_SHOWN_MAX: Final = 64

_log = structlog.get_logger(service="image")


class Upload:
    """One upload's words to its image. Each is an operation of its own, so each may be repeated."""

    def __init__(self, request: Request, ident: str) -> None:
        self.ident = request.services.clock.uuid()
        self.image = ident
        self._request = request
        self._to = address("image", ident)
        self._by = request.said_by()
        self._said = 0

    async def _say(self, message: Command, name: str) -> None:
        """Raises Problem when refused, Unavailable."""
        await self._request.command(self._to, message, derived(self.ident, name))

    async def begin(self, *, stage: bool) -> None:
        await self._say(BeginUpload(by=self._by, upload=self.ident, stage=stage), "begin")

    async def keep(self, received: int) -> None:
        self._said += 1
        await self._say(KeepUpload(by=self._by, upload=self.ident, received=received), f"keep {self._said}")

    async def finish(self, data: StoredData) -> None:
        """Repeated while nobody answers: data is lost only when the actor has said no."""
        message = FinishUpload(by=self._by, upload=self.ident, data=data)
        for left in reversed(range(FINISH_TRIES)):
            try:
                await self._say(message, "finish")
            except Unavailable:
                if not left:
                    raise
            else:
                return

    async def fail(self, reason: str) -> None:
        """Say so if it can be said soon; the actor notices by itself otherwise."""
        message = FailUpload(by=self._by, upload=self.ident, reason=reason)
        with contextlib.suppress(Unavailable, Problem, TimeoutError):
            async with asyncio.timeout(GIVE_UP_S):
                await self._say(message, "fail")


class _Slots:
    """How many uploads this process carries now."""

    def __init__(self) -> None:
        self.taken = 0

    def __enter__(self) -> None:
        if self.taken >= UPLOADS_MAX:
            raise Problem(503, "Too many uploads at the same time.", headers={"Retry-After": "5"})
        self.taken += 1

    def __exit__(self, *_: object) -> None:
        self.taken -= 1


_slots = _Slots()


async def put_file(request: Request) -> Response:
    """Take in an image's data, into the store that the request names or the default one."""
    store = request.headers.get(STORE_HEADER, "")
    if store and store not in request.services.images:
        raise Problem(400, f"Store {store[:STORE_SHOWN_MAX]!r} is not one of this cloud's.")
    return await _put(request, store, stage=False)


async def stage_file(request: Request) -> Response:
    """Take in data that waits for its import, in the default store."""
    return await _put(request, "", stage=True)


async def _put(request: Request, store: str, *, stage: bool) -> Response:
    row = await image_for_change(request)
    wanted = _wanted(
        record_of(row.view), await check_upload(request, row, request.body.length or 0, stage=stage)
    )
    with _slots:
        upload = Upload(request, row.id)
        try:
            await upload.begin(stage=stage)
        except Unavailable:
            await upload.fail("The upload could not be begun.")
            raise
        try:
            await _carry(request, upload, store, wanted)
        except BaseException as error:
            await upload.fail(_reason(error))
            raise
    return Response()


def _wanted(record: ImageRecord, bytes_max: int) -> Wanted:
    if record.disk_format is None or record.container_format is None:
        raise Problem(400, "Properties disk_format, container_format must be set prior to saving data.")
    return Wanted(
        disk_format=record.disk_format,
        container_format=record.container_format,
        min_disk=record.min_disk,
        bytes_max=bytes_max,
    )


def _reason(error: BaseException) -> str:
    return error.message if isinstance(error, Problem) else "The upload was interrupted."


async def _carry(request: Request, upload: Upload, store: str, wanted: Wanted) -> None:
    """From the first byte to the actor's word. Raises Problem or Unavailable."""
    services, body = request.services, request.body
    place = Place(image=upload.image, attempt=upload.ident, store=store, length=body.length)
    try:
        async with taking_in(
            services.images, services.clock, place, wanted, aiter(body), upload.keep
        ) as data:
            await upload.finish(data)
    except (Unsafe, StoreFull, StoreFailed) as error:
        raise _as_problem(error, request.request_id) from error


def _as_problem(error: Unsafe | StoreFull | StoreFailed, request_id: str) -> Problem:
    """How the client is told of what stopped the data."""
    if isinstance(error, Unsafe):
        return refused(error)
    if isinstance(error, StoreFull):
        return Problem(413, str(error))
    _log.error("image.store_failed", request_id=request_id, error=str(error))
    return Problem(503, "The image store cannot be used now.", headers={"Retry-After": "5"})
