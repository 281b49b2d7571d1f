"""``rescue``: which image the rescue system is, and the answer.

Source: Compute API reference, "Rescue Server"; image properties of stable device rescue.
"""

from typing import Final

from msgspec import UNSET

from gateway.compute.reference import usable_image
from gateway.compute.server.argument import RescueArgument
from gateway.compute.server.begin import begin
from gateway.compute.server.create import password_for
from gateway.request import Request, Response
from protocol.guest import GuestImage
from protocol.instance import RescueInstance
from store.server import ServerRow

_STABLE: Final = ("hw_rescue_device", "hw_rescue_bus")
"""An image with one of these boots behind the server's own disks, which keep their names."""


async def rescue(request: Request, row: ServerRow, argument: RescueArgument | None) -> Response:
    """``rescue``: 200 with a password. Raises Problem 400 for an image that cannot be used."""
    image: GuestImage | None = None
    own_first = False
    if argument is not None and argument.rescue_image_ref is not UNSET:
        async with request.services.pool.acquire() as connection:
            found = await usable_image(connection, request.caller, argument.rescue_image_ref)
        image, own_first = found.guest, any(name in found.properties for name in _STABLE)
    command = RescueInstance(by=request.said_by(), image=image, own_first=own_first)
    operation = await begin(request, row, command)
    given = UNSET if argument is None else argument.admin_pass
    return Response({"adminPass": given if given is not UNSET else password_for(operation)}, status=200)
