"""Delete: from anywhere, whatever is under way, in one turn.

The data is rubbish from the commit on: the gateway that asked removes it at once, and the stores' sweep
whatever is left, such as what a move was just writing. Source: Image API v2, "Delete image".
"""

from actors.image.model import ACTIVE, DEACTIVATED, DELETED, IMPORTING, QUEUED, SAVING, UPLOADING, Image
from actors.machine import ANY, on, operation
from actors.turn import Refusal, Step
from protocol.image import DeleteImage


def delete(image: Image, _: DeleteImage) -> Step[Image]:
    if image.record.protected:
        raise Refusal(
            "forbidden", f"Image {image.id} is protected and cannot be deleted.", "protected", "true"
        )
    return image.but(life=DELETED, alarm_at=None, upload="", importing=None), []


# fmt: off
DELETE = operation(
    "delete",
    # while  hearing       do      then
    on(None,   DeleteImage,  delete, None),
    accepts={QUEUED, SAVING, UPLOADING, IMPORTING, ACTIVE, DEACTIVATED},
    interrupts={ANY},
    deadlines={},
)
# fmt: on
