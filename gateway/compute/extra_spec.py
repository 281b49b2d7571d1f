"""A flavor's extra specs: words for the scheduler and the hypervisor.

Source: Compute API reference, "Flavors extra-specs".
"""

from typing import Annotated, Final, TypeAlias

from msgspec import Meta

from gateway.compute.flavor import flavor_of, no_such_flavor
from gateway.compute.schema import Body
from gateway.problem import Problem
from gateway.request import Request, Response
from store.compute import put_extra_specs, remove_extra_spec

ITEMS_MAX: Final = 128
_Key: TypeAlias = Annotated[str, Meta(pattern=r"\A[a-zA-Z0-9_:. -]{1,255}\Z")]
_Value: TypeAlias = Annotated[str, Meta(max_length=255)] | int | float
_Specs: TypeAlias = Annotated[dict[_Key, _Value], Meta(max_length=ITEMS_MAX)]
Item: TypeAlias = Annotated[dict[_Key, _Value], Meta(min_length=1, max_length=1)]
"""One extra spec, the body of its PUT."""


class SpecsBody(Body, frozen=True):
    """The extra specs to add or replace."""

    extra_specs: _Specs


def _texts(specs: dict[str, str | int | float]) -> dict[str, str]:
    return {key: str(value) for key, value in specs.items()}


async def _put(request: Request, specs: dict[str, str]) -> None:
    row, services = await flavor_of(request), request.services
    if len({**row.extra_specs, **specs}) > ITEMS_MAX:
        raise Problem(400, f"A flavor has at most {ITEMS_MAX} extra specs.")
    async with services.pool.acquire() as connection:
        if await put_extra_specs(connection, row.id, specs, services.clock.now()) is None:
            raise no_such_flavor(row.id)


async def list_extra_specs(request: Request) -> Response:
    """``GET /flavors/{id}/os-extra_specs``."""
    return Response({"extra_specs": (await flavor_of(request)).extra_specs})


async def create_extra_specs(request: Request) -> Response:
    """``POST /flavors/{id}/os-extra_specs``: add or replace these."""
    body: SpecsBody = request.body
    specs = _texts(body.extra_specs)
    await _put(request, specs)
    return Response({"extra_specs": specs})


def _missing(request: Request) -> Problem:
    flavor, key = request.params["flavor_id"], request.params["key"]
    return Problem(404, f"Flavor {flavor} has no extra specs with key {key}.")


async def show_extra_spec(request: Request) -> Response:
    """``GET /flavors/{id}/os-extra_specs/{key}``."""
    key = request.params["key"]
    specs = (await flavor_of(request)).extra_specs
    if key not in specs:
        raise _missing(request)
    return Response({key: specs[key]})


async def update_extra_spec(request: Request) -> Response:
    """``PUT /flavors/{id}/os-extra_specs/{key}``."""
    specs = _texts(request.body)
    if request.params["key"] not in specs:
        raise Problem(400, "Request body and URI mismatch")
    await _put(request, specs)
    return Response(specs)


async def delete_extra_spec(request: Request) -> Response:
    """``DELETE /flavors/{id}/os-extra_specs/{key}``: 200."""
    row, services = await flavor_of(request), request.services
    async with services.pool.acquire() as connection:
        if not await remove_extra_spec(connection, row.id, request.params["key"], services.clock.now()):
            raise _missing(request)
    return Response()
