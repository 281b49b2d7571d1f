"""Regions, services and endpoints, and the catalog made of them."""

from typing import Annotated, Any, ClassVar, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from gateway.identity.collection import Body, Collection, Draft, Name, Text, given, new_id, not_found
from gateway.problem import Problem
from gateway.request import Request, Response
from gateway.route import Route
from store import catalog, identity
from store.identity import Endpoint, Region, Service
from store.pool import Connection

Url = Annotated[str, Meta(min_length=1, max_length=2048)]
Interface = Literal["public", "internal", "admin"]


class NewRegion(Struct, forbid_unknown_fields=True):
    """Members of a region to create; it names itself."""

    id: Name | None = None
    description: Text | None = None
    parent_region_id: Name | None = None


class ChangedRegion(Struct, forbid_unknown_fields=True):
    """Members of a region to change."""

    description: Text | UnsetType | None = UNSET
    parent_region_id: Name | UnsetType | None = UNSET


class Regions(Collection[Region]):
    """Source: Identity API v3, "Regions"."""

    kind = Region
    singular, plural = "region", "regions"
    create_members, update_members = NewRegion, ChangedRegion
    filters: ClassVar = {"parent_region_id": str}

    def shape(self, row: Region) -> dict[str, Any]:
        return structs.asdict(row)

    async def build(self, draft: Draft) -> Region:
        members: NewRegion = draft.members
        row = Region(
            id=members.id or new_id(draft.request),
            description=members.description or "",
            parent_region_id=members.parent_region_id,
        )
        await _check_parent(draft.c, row)
        return row

    async def change(self, row: Region, draft: Draft) -> Region:
        after = structs.replace(row, **given(draft.members))
        await _check_parent(draft.c, after)
        return after

    async def remove(self, request: Request, c: Connection, row: Region) -> None:
        """Delete the region and those below it, unless an endpoint is in one of them."""
        del request
        ids = await catalog.region_and_below(c, row.id)
        if await catalog.have_endpoints(c, ids):
            raise Problem(
                403,
                f"Unable to delete region {row.id} because it or its child regions have associated"
                " endpoints.",
            )
        await self.write(catalog.remove_regions(c, ids))


class NewService(Struct, forbid_unknown_fields=True):
    """Members of a service to create."""

    type: Name
    name: Annotated[str, Meta(max_length=255)] | None = None
    description: Text | None = None
    enabled: bool = True


class ChangedService(Struct, forbid_unknown_fields=True):
    """Members of a service to change."""

    type: Name | UnsetType = UNSET
    name: Annotated[str, Meta(max_length=255)] | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET


class CatalogServices(Collection[Service]):
    """Source: Identity API v3, "Service catalog and endpoints"."""

    kind = Service
    singular, plural = "service", "services"
    create_members, update_members = NewService, ChangedService
    filters: ClassVar = {"name": str, "type": str}

    def shape(self, row: Service) -> dict[str, Any]:
        return structs.asdict(row)

    async def build(self, draft: Draft) -> Service:
        members: NewService = draft.members
        return Service(
            id=new_id(draft.request),
            type=members.type,
            name=members.name or "",
            description=members.description or "",
            enabled=members.enabled,
        )

    async def change(self, row: Service, draft: Draft) -> Service:
        return structs.replace(row, **given(draft.members))


class NewEndpoint(Struct, forbid_unknown_fields=True):
    """Members of an endpoint to create; ``region`` is the older word for ``region_id``."""

    service_id: Name
    interface: Interface
    url: Url
    region_id: Name | None = None
    region: Name | None = None
    enabled: bool = True
    name: str | None = None


class ChangedEndpoint(Struct, forbid_unknown_fields=True):
    """Members of an endpoint to change."""

    service_id: Name | UnsetType = UNSET
    interface: Interface | UnsetType = UNSET
    url: Url | UnsetType = UNSET
    region_id: Name | UnsetType | None = UNSET
    region: Name | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    name: str | UnsetType = UNSET


class Endpoints(Collection[Endpoint]):
    """Source: Identity API v3, "Service catalog and endpoints"."""

    kind = Endpoint
    singular, plural = "endpoint", "endpoints"
    create_members, update_members = NewEndpoint, ChangedEndpoint
    filters: ClassVar = {"interface": str, "service_id": str, "region_id": str}

    def shape(self, row: Endpoint) -> dict[str, Any]:
        shown = structs.asdict(row)
        shown["region"] = row.region_id
        return shown

    def body_of(self, request: Request, row: Endpoint) -> dict[str, Any]:
        """The endpoint with its url as this client reaches it."""
        return {**super().body_of(request, row), "url": seen_from(request, row.url)}

    async def build(self, draft: Draft) -> Endpoint:
        members: NewEndpoint = draft.members
        region_id = members.region_id or await _region_made(draft.c, members.region)
        await _check_parts(draft.c, members.service_id, region_id)
        return Endpoint(
            id=new_id(draft.request),
            service_id=members.service_id,
            interface=members.interface,
            region_id=region_id,
            url=_checked_url(members.url),
            enabled=members.enabled,
        )

    async def change(self, row: Endpoint, draft: Draft) -> Endpoint:
        changed = given(draft.members)
        changed.pop("name", None)
        older = changed.pop("region", UNSET)
        if older is not UNSET and "region_id" not in changed:
            changed["region_id"] = await _region_made(draft.c, older)
        if "url" in changed:
            changed["url"] = _checked_url(changed["url"])
        after = structs.replace(row, **changed)
        await _check_parts(draft.c, after.service_id, after.region_id)
        return after


async def _region_made(c: Connection, region_id: str | None) -> str | None:
    """The region by its older name ``region``: whoever says that may mean a new one."""
    if region_id is not None and await identity.get(c, Region, region_id) is None:
        await identity.add(c, Region(id=region_id))
    return region_id


async def _check_parts(c: Connection, service_id: str, region_id: str | None) -> None:
    if await identity.get(c, Service, service_id) is None:
        raise not_found("service", service_id)
    if region_id is not None and await identity.get(c, Region, region_id) is None:
        raise not_found("region", region_id)


def _checked_url(url: str) -> str:
    if not url.startswith(("/", "http://", "https://")) or any(char.isspace() for char in url):
        raise Problem(400, "An endpoint's url begins with http://, https:// or a slash.")
    return url


def seen_from(request: Request, url: str) -> str:
    """An endpoint's URL as this client reaches it: relative ones are on our own origin."""
    return request.base_url + url if url.startswith("/") else url


async def catalog_of(request: Request, c: Connection, project_id: str) -> list[dict[str, Any]]:
    """The catalog as this project sees it: enabled services with their enabled endpoints."""
    services: dict[str, dict[str, Any]] = {}
    for entry in await catalog.catalog(c, project_id):
        service = services.get(entry.service_id)
        if service is None:
            service = {"id": entry.service_id, "type": entry.type, "name": entry.name, "endpoints": []}
            services[entry.service_id] = service
        service["endpoints"].append(
            {
                "id": entry.id,
                "interface": entry.interface,
                "region_id": entry.region_id,
                "region": entry.region_id,
                "url": seen_from(request, entry.url),
            }
        )
    return list(services.values())


async def _check_parent(c: Connection, row: Region) -> None:
    """Refuse a parent that is not there, or is the region itself or below it. Raises Problem 404 or 400."""
    parent_id = row.parent_region_id
    if parent_id is None:
        return
    if parent_id in await catalog.region_and_below(c, row.id):
        raise Problem(
            400, f"The specified parent region {parent_id} would create a circular region hierarchy."
        )
    if await identity.get(c, Region, parent_id) is None:
        raise not_found("region", parent_id)


REGIONS = Regions()
SERVICES = CatalogServices()
ENDPOINTS = Endpoints()


async def put_region(request: Request) -> Response:
    """Create a region under the id of the path. Source: Identity API v3, "Regions", PUT."""
    sent = request.body.setdefault("region", {})
    if sent.setdefault("id", request.params["id"]) != request.params["id"]:
        raise Problem(400, "Conflicting region IDs specified: the path's and the body's differ.")
    return await REGIONS.create(request)


def routes() -> tuple[Route, ...]:
    """Return the rows of the catalog's resources."""
    put = Route("PUT", "/v3/regions/{id}", put_region, "identity:create_region", 201, request=Body)
    return (*REGIONS.routes(), put, *SERVICES.routes(), *ENDPOINTS.routes())
