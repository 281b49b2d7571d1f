"""Import: bring data into one or more stores, one move after the other; gateways carry them out.

The image orders a move from whatever gateway is free, and says so again until one has taken it. That
gateway then tells of its progress; when it falls silent the move is ordered anew, so that another one
takes over, MOVES_MAX times in all. What is in the first store is the source for the next one, so nothing is
fetched twice. A failure leaves the image as it was before: what was brought is rubbish, which the
stores' sweep removes. Data that is staged in a store it shall be in is not moved at all.

Source: Image API v2, "Interoperable image import" and "Import an image to multiple stores".
"""

from typing import Final

from msgspec.structs import replace

from actors.image.model import (
    ACTIVE,
    DEACTIVATED,
    IMPORTING,
    QUEUED,
    SAVING,
    UPLOADING,
    Image,
    Import,
    emptied,
    with_data,
)
from actors.machine import on, operation
from actors.turn import Refusal, Send, Step, Task
from protocol.command import Command
from protocol.errors import StepFailed
from protocol.ids import address
from protocol.image import (
    CopySource,
    FailMove,
    FinishMove,
    ImportImage,
    KeepMove,
    MoveData,
    RemoteSource,
    TakeMove,
    WebSource,
    store_of,
)

ASKED: Final = "asking"
MOVING: Final = "moving"
MOVES_MAX: Final = 3
"""Gateways that may fall silent over one store before the import is given up."""
COPY: Final = "copy-image"
DIRECT: Final = "glance-direct"


def check(image: Image, wish: ImportImage) -> None:
    """Raises Refusal where the image is not what the method needs."""
    needs = {COPY: ACTIVE, DIRECT: UPLOADING}.get(wish.method, QUEUED)
    if image.life != needs:
        reason = {
            COPY: "Only images with status active can be targeted for copying",
            DIRECT: f"Image needs to be staged before '{DIRECT}' method can be used",
        }.get(wish.method, f"Image needs to be in 'queued' state to use '{wish.method}' method")
        raise Refusal("conflict", reason, "status", image.life)
    if wish.method == DIRECT and not image.staged:
        raise Refusal("conflict", "The image's data is still being staged", "status", image.life)
    record = image.record
    for name, value in (("container_format", record.container_format), ("disk_format", record.disk_format)):
        if value is None:
            raise Refusal("conflict", f"'{name}' needs to be set before import", name, "")
    present = {store_of(location) for location in image.locations}
    for store in wish.stores:
        if store in present:
            raise Refusal("invalid", f"Image is already present at store '{store}'", "stores", store)


def begun(image: Image, wish: ImportImage) -> Image:
    """The image with its import; data staged where it shall be is there already."""
    check(image, wish)
    in_place = (image.staged,) if image.staged and store_of(image.staged) in wish.stores else ()
    there = {store_of(location) for location in in_place}
    return image.but(
        life=image.life if wish.method == COPY else IMPORTING,
        alarm_at=None,
        staged="" if in_place else image.staged,
        failure="",
        failed_stores=(),
        importing=Import(
            method=wish.method,
            source=wish.source,
            todo=tuple(store for store in wish.stores if store not in there),
            done=in_place,
            all_must_succeed=wish.all_must_succeed,
            bytes_max=wish.bytes_max,
        ),
    )


def begin(image: Image, wish: ImportImage) -> Step[Image]:
    return order(begun(image, wish))


def keep_all(image: Image, wish: ImportImage) -> Step[Image]:
    return settled(begun(image, wish)), []


def order(image: Image) -> Step[Image]:
    """Ask for the first store that is still to be filled."""
    job, record = of(image), image.record
    image = image.but(importing=replace(job, move=""))
    wanted = MoveData(
        image=image.id,
        number=image.version,
        by=task_of(image).by,
        source=source(image),
        store=job.todo[0],
        disk_format=record.disk_format or "",
        container_format=record.container_format or "",
        min_disk=record.min_disk,
        bytes_max=job.bytes_max,
    )
    return image, [Send(address("mover", "any"), wanted)]


def source(image: Image) -> WebSource | RemoteSource | CopySource:
    """What there is in a store already, else where it comes from."""
    job = of(image)
    for location in (*job.done, image.staged, *image.locations):
        if location:
            return CopySource(location, image.size_bytes or 0, image.sha512)
    if job.source is None:
        raise LookupError(f"image {image.id} has nothing to import")
    return job.source


def hand_over(image: Image, taken: TakeMove) -> Step[Image]:
    job = of(image)
    task = replace(task_of(image), failure="")  # what went wrong before is being made good
    return image.but(importing=replace(job, move=taken.move, attempts=job.attempts + 1), task=task), []


def stay(image: Image, _: TakeMove) -> Step[Image]:
    return image, []


def note_progress(image: Image, keep: KeepMove) -> Step[Image]:
    return image.but(received=keep.received), []


def took_in(image: Image, finished: FinishMove) -> Image:
    """The image with the move's data in its store."""
    job, found = of(image), finished.found
    if not image.sha512:
        image = with_data(image, finished.data)
    if found is not None:
        record = replace(
            image.record,
            disk_format=found.disk_format,
            container_format=found.container_format,
            properties={**image.record.properties, **found.properties},
        )
        image = image.but(record=record)
    done = (*job.done, finished.data.location)
    return image.but(importing=replace(job, todo=job.todo[1:], done=done, attempts=0))


def go_on(image: Image, finished: FinishMove) -> Step[Image]:
    return order(took_in(image, finished))


def complete(image: Image, finished: FinishMove) -> Step[Image]:
    return settled(took_in(image, finished)), []


def settled(image: Image) -> Image:
    """The image with all that was brought."""
    job = of(image)
    life = ACTIVE if image.life == IMPORTING else image.life
    return image.but(
        life=life,
        staged="",
        locations=(*image.locations, *job.done),
        failed_stores=job.failed,
        importing=None,
    )


def left_out(image: Image) -> Image:
    """The image without the store that could not be filled."""
    job = of(image)
    return image.but(importing=replace(job, todo=job.todo[1:], failed=(*job.failed, job.todo[0]), attempts=0))


def skip(image: Image, _: FailMove) -> Step[Image]:
    return order(left_out(image))


def make_do(image: Image, _: FailMove) -> Step[Image]:
    return settled(left_out(image)), []


def fail(image: Image, failed: FailMove) -> Step[Image]:
    task = replace(task_of(image), failure=f"{failed.code}: {failed.reason}")
    return undone(image.but(task=task), failed.reason), []


def order_again(image: Image, _: StepFailed) -> Step[Image]:
    return order(image)


def give_up(image: Image, failed: StepFailed) -> Step[Image]:
    job = of(image)
    if job.done and not job.all_must_succeed:
        return settled(image.but(importing=replace(job, failed=(*job.failed, *job.todo)))), []
    return undone(image, failed.reason), []


def undone(image: Image, reason: str) -> Image:
    """The image as it was before the import, but for staged data: that is gone with the attempt."""
    job = of(image)
    failed = (*job.failed, *job.todo)
    if job.method == COPY:
        return image.but(importing=None, failure=reason, failed_stores=failed)
    return emptied(image, reason).but(failed_stores=failed)


def of(image: Image) -> Import:
    """The import under way."""
    if image.importing is None:
        raise LookupError(f"image {image.id} has no import")
    return image.importing


def task_of(image: Image) -> Task:
    """The task under way."""
    if image.task is None:
        raise LookupError(f"image {image.id} has no task")
    return image.task


def in_place(image: Image, wish: ImportImage) -> bool:
    return wish.method == DIRECT and wish.stores == (store_of(image.staged),)


def is_last(image: Image, _: FinishMove) -> bool:
    return len(of(image).todo) == 1


def may_skip(image: Image, _: FailMove) -> bool:
    job = of(image)
    return not job.all_must_succeed and len(job.todo) > 1


def may_do_without(image: Image, _: FailMove) -> bool:
    job = of(image)
    return not job.all_must_succeed and bool(job.done)


def tries_left(image: Image, _: StepFailed) -> bool:
    return of(image).attempts < MOVES_MAX


def is_mine(image: Image, word: Command) -> bool:
    """Whether a gateway's word is about the order or the move of now."""
    job, task = image.importing, image.task
    if job is None or task is None:
        return False
    if isinstance(word, TakeMove):
        return word.move == job.move or (not job.move and word.number == task.number)
    return isinstance(word, KeepMove | FinishMove | FailMove) and word.move == job.move


# fmt: off
IMPORT = operation(
    "import",
    # while   hearing      do             then
    on(None,    ImportImage, keep_all,      None,   when=in_place),
    on(None,    ImportImage, begin,         ASKED),
    on(ASKED,   TakeMove,    hand_over,     MOVING),
    on(ASKED,   StepFailed,  give_up,       None),
    on(MOVING,  TakeMove,    stay,          MOVING),
    on(MOVING,  KeepMove,    note_progress, MOVING),
    on(MOVING,  FinishMove,  complete,      None,   when=is_last),
    on(MOVING,  FinishMove,  go_on,         ASKED),
    on(MOVING,  FailMove,    skip,          ASKED,  when=may_skip),
    on(MOVING,  FailMove,    make_do,       None,   when=may_do_without),
    on(MOVING,  FailMove,    fail,          None),
    on(MOVING,  StepFailed,  order_again,   ASKED,  when=tries_left),
    on(MOVING,  StepFailed,  give_up,       None),
    accepts={QUEUED, SAVING, UPLOADING, IMPORTING, ACTIVE, DEACTIVATED},
    deadlines={ASKED: 120, MOVING: 60},
)
# fmt: on
