"""What a project's images may come to: sizes and counts against the operator's limits.

Looked up before anything begins, so that two requests at the same moment may pass together; what one upload
may add is also its own bound. Source: Image API v2, "Show quota usage", and Glance's unified limits.
"""

from typing import Final

from gateway.problem import Problem
from gateway.request import Request, Response
from store.image import ImageRow
from store.image_usage import ImageUsage, image_usage

MIB: Final = 1 << 20
UNLIMITED: Final = -1


async def _usage(request: Request, project: str) -> ImageUsage:
    async with request.services.pool.acquire() as c:
        return await image_usage(c, project)


def _check(name: str, limit: int, usage: int, wanted: int) -> None:
    """Raises Problem 413 when the limit does not hold what is wanted besides what is there."""
    if limit != UNLIMITED and usage + wanted > limit:
        raise Problem(
            413, f"Resource {name} is over limit of {limit} due to current usage {usage} and delta {wanted}"
        )


async def check_count(request: Request, project: str) -> None:
    """Whether the project may have one more image. Raises Problem 413."""
    limit = request.services.settings.image_limits.count_total
    if limit != UNLIMITED:
        _check("image_count_total", limit, (await _usage(request, project)).images, 1)


async def check_upload(request: Request, row: ImageRow, announced_bytes: int, *, stage: bool = False) -> int:
    """How many bytes this upload may have, given what it announces. Raises Problem 413."""
    settings = request.services.settings
    limits, bytes_max = settings.image_limits, settings.image_bytes_max
    name = "image_stage_total" if stage else "image_size_total"
    total = limits.stage_total if stage else limits.size_total
    if announced_bytes > bytes_max:
        raise Problem(413, f"The image is larger than {bytes_max} bytes.")
    if total == limits.count_uploading == UNLIMITED:
        return bytes_max
    usage = await _usage(request, row.owner)
    _check("image_count_uploading", limits.count_uploading, usage.uploading, 1)
    if total == UNLIMITED:
        return bytes_max
    used = usage.staged_bytes if stage else usage.stored_bytes
    _check(name, total, _mib(used), max(1, _mib(announced_bytes)))
    return min(bytes_max, total * MIB - used)


def _mib(size_bytes: int) -> int:
    """Whole MiB, rounded up: what is begun counts."""
    return -(-size_bytes // MIB)


async def show_usage(request: Request) -> Response:
    """The project's usage beside its limits; sizes in MiB."""
    usage = await _usage(request, request.caller.project_id)
    limits = request.services.settings.image_limits
    pairs = {
        "image_size_total": (limits.size_total, _mib(usage.stored_bytes)),
        "image_stage_total": (limits.stage_total, _mib(usage.staged_bytes)),
        "image_count_total": (limits.count_total, usage.images),
        "image_count_uploading": (limits.count_uploading, usage.uploading),
    }
    shown = {name: {"limit": limit, "usage": used} for name, (limit, used) in pairs.items()}
    return Response({"usage": shown})
