"""Image data over HTTP: upload and download, with a token or by a signed URL.

An upload is a conversation with the image's actor: BeginUpload takes the right to write, KeepUpload
says that it goes on, and FinishUpload or FailUpload ends it. Whatever happens, one of the two is tried;
if neither arrives the actor ends the upload by itself and the sweep removes the data.
Source: Image API v2, "Image data".
"""

import asyncio
import contextlib
from typing import Final

import msgspec
import structlog
from aiohttp import web
from msgspec import Struct

from gateway.auth import authenticate
from gateway.commands import Unavailable
from gateway.image.access import image_for_change, visible
from gateway.image.inspect import Judged, Unsafe, judge
from gateway.image.limits import UPLOADS_MAX
from gateway.image.quota import check_upload
from gateway.image.record import record_of
from gateway.image.send import send_data
from gateway.image.store import Sink, StoreFailed, StoreFull, Writing
from gateway.image.upload import Received, Receiver, refused
from gateway.problem import Problem
from gateway.request import Request, Response, forbidden
from process.signed_url import is_valid
from protocol.command import Command
from protocol.ids import address, derived
from protocol.image import BeginUpload, FailUpload, FinishUpload, ImageRecord, KeepUpload
from store.image import ImageRow, Viewer, image

KEEP_S: Final = 10.0
FINISH_TRIES: Final = 3
GIVE_UP_S: Final = 5.0
"""How long the word of a failed upload may take: the client is waiting for its answer."""
_INSPECTED: Final = frozenset({"bare", "docker"})
_READABLE: Final = frozenset({"active", "deactivated"})
"""A deactivated image's data is read by admins, and by hosts whose servers were made before."""
_SIGNED: Final = ("host", "generation", "expires", "signature")

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

    async def begin(self) -> None:
        await self._say(BeginUpload(by=self._by, upload=self.ident), "begin")

    async def keep(self, received: int) -> None:
        self._said += 1
        await self._say(KeepUpload(by=self._by, upload=self.ident, received=received), f"keep {self._said}")

    async def finish(self, location: str, received: Received, judged: Judged) -> None:
        """Repeated while nobody answers: data is lost only when the actor has said no."""
        message = FinishUpload(
            by=self._by,
            upload=self.ident,
            location=location,
            size_bytes=received.size_bytes,
            virtual_size_bytes=judged.virtual_bytes,
            md5=received.md5,
            sha512=received.sha512,
        )
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


class _Sums(Struct):
    """What a download needs of an image's view."""

    checksum: str | None


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
    """Take in an image's data."""
    row = await image_for_change(request)
    record = record_of(row.view)
    if record.disk_format is None or record.container_format is None:
        raise Problem(400, "Properties disk_format, container_format must be set prior to saving data.")
    bytes_max = await check_upload(request, row, request.body.length or 0)
    with _slots:
        upload = Upload(request, row.id)
        try:
            await upload.begin()
        except Unavailable:
            await upload.fail("The upload could not be begun.")
            raise
        try:
            await _carry(request, record, upload, bytes_max)
        except BaseException as error:
            await upload.fail(_reason(error))
            raise
    return Response()


def _reason(error: BaseException) -> str:
    return error.message if isinstance(error, Problem) else "The upload was interrupted."


async def _carry(request: Request, record: ImageRecord, upload: Upload, bytes_max: int) -> None:
    """From the first byte to the actor's word. Raises Problem or Unavailable."""
    sink: Writing | None = None
    try:
        sink = await request.services.images.begin(upload.image, upload.ident, request.body.length)
        received, judged = await _received(request, record, upload, sink, bytes_max)
        await sink.commit()
    except BaseException as error:
        if sink is not None:
            await sink.abandon()
        problem = _as_problem(error, request.request_id)
        if problem is None:
            raise
        raise problem from error
    try:
        await upload.finish(sink.location, received, judged)
    except Problem:
        await sink.abandon()
        raise


def _as_problem(error: BaseException, request_id: str) -> Problem | None:
    """How the client is told of what stopped the data; None: not one of ours."""
    if isinstance(error, Unsafe):
        return refused(error)
    if isinstance(error, StoreFull):
        return Problem(413, str(error))
    if isinstance(error, StoreFailed):
        _log.error("image.store_failed", request_id=request_id, error=str(error))
        return Problem(503, "The image store cannot be used now.", headers={"Retry-After": "5"})
    return None


async def _received(
    request: Request, record: ImageRecord, upload: Upload, sink: Sink, bytes_max: int
) -> tuple[Received, Judged]:
    inspected = record.container_format in _INSPECTED
    declared = record.disk_format if inspected else None
    receiver = Receiver(sink, request.services.clock, declared=declared, bytes_max=bytes_max)
    keeper = asyncio.create_task(_keep(upload, receiver))
    try:
        received = await receiver.receive(aiter(request.body))
    finally:
        keeper.cancel()
        await asyncio.wait([keeper])
    if declared is None:
        return received, Judged("", None)
    return received, judge(received.head, received.size_bytes, declared, min_disk_gib=record.min_disk)


async def _keep(upload: Upload, receiver: Receiver) -> None:
    """Tell the actor of progress; stop the receiver when the actor no longer wants it."""
    told = 0
    while True:
        await asyncio.sleep(KEEP_S)
        if receiver.received == told:
            continue
        told = receiver.received
        try:
            await upload.keep(told)
        except Unavailable:
            continue  # the next word may get through; the actor waits longer than one of them
        except Problem as problem:
            receiver.stop(problem)
            return


async def get_file(request: Request) -> Response | web.StreamResponse:
    """Send an image's data: whole, or a range of it; 204 when it has none yet.

    The route is public because a signed URL needs no token; without a signature a token is asked for.
    """
    row = await _downloadable(request)
    if row.location is None or row.status not in _READABLE:
        return Response(status=204)
    try:
        data = await request.services.images.open(row.location)
    except StoreFailed as error:
        _log.error("image.store_failed", request_id=request.request_id, error=str(error))
        raise Problem(503, "The image store cannot be used now.", headers={"Retry-After": "5"}) from error
    if data is None:
        _log.error("image.data_missing", image=row.id, location=row.location)
        raise Problem(404, f"The data of image {row.id} is not in the store.")
    return await send_data(request, data, msgspec.json.decode(row.view, type=_Sums).checksum or "")


async def _downloadable(request: Request) -> ImageRow:
    if "signature" in request.query:
        return await _signed(request)
    caller = await authenticate(
        request.services.tokens, request.headers.get("X-Auth-Token"), request.base_url
    )
    request.identify(caller)
    if not request.allows("image:download_image"):
        raise forbidden("image:download_image")
    row = await visible(request)
    if row.status == "deactivated" and not caller.is_admin:
        raise Problem(403, "The requested image has been deactivated. Image data download is forbidden.")
    return row


async def _signed(request: Request) -> ImageRow:
    """The image of a signed URL. Raises Problem 403 or 404."""
    services, ident = request.services, request.params["image_id"]
    host, generation, expires, given = (request.query.get(name, "") for name in _SIGNED)
    whole = generation.isascii() and generation.isdigit() and expires.isascii() and expires.isdigit()
    good = (
        bool(services.url_key)
        and whole
        and max(len(generation), len(expires)) <= 18  # noqa: PLR2004  fits 64 bits
        and is_valid(
            services.url_key,
            image=ident,
            host=host,
            generation=int(generation),
            expires=int(expires),
            given=given,
            now=services.clock.now(),
        )
    )
    if not good:
        raise Problem(403, "The signature of this URL is not valid, or no longer.")
    async with services.read_pool.acquire() as c:
        row = await image(c, ident, Viewer("", admin=True))
    if row is None:
        raise Problem(404, f"No image found with ID {ident}")
    return row
