"""Which endpoints a project sees in its catalog: groups of endpoints, and associations with projects.

Source: Identity API v3, OS-EP-FILTER. A project without associations sees all endpoints.
"""

from typing import Any, ClassVar, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs

from gateway.identity.catalog import ENDPOINTS, Interface
from gateway.identity.collection import (
    Collection,
    Draft,
    Name,
    Text,
    encoded,
    given,
    listing,
    new_id,
    not_found,
)
from gateway.identity.project import PROJECTS
from gateway.problem import Problem
from gateway.request import Request, Response
from gateway.route import Route
from store import catalog, identity
from store.catalog import EndpointGroup
from store.identity import Endpoint, Project, Row
from store.pool import Connection

_BASE: Final = "/v3/OS-EP-FILTER"


class Filters(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Members an endpoint must have."""

    interface: Interface | None = None
    service_id: Name | None = None
    region_id: Name | None = None
    enabled: bool | None = None


class NewEndpointGroup(Struct, forbid_unknown_fields=True):
    """Members of an endpoint group to create."""

    name: Name
    filters: Filters
    description: Text | None = None


class ChangedEndpointGroup(Struct, forbid_unknown_fields=True):
    """Members of an endpoint group to change. Clients say null for a filter they leave as it is."""

    name: Name | UnsetType = UNSET
    filters: Filters | UnsetType | None = UNSET
    description: Text | UnsetType | None = UNSET


class EndpointGroups(Collection[EndpointGroup]):
    """The collection at /v3/OS-EP-FILTER/endpoint_groups."""

    kind = EndpointGroup
    singular, plural = "endpoint_group", "endpoint_groups"
    path = "OS-EP-FILTER/endpoint_groups"
    create_members, update_members = NewEndpointGroup, ChangedEndpointGroup
    filters: ClassVar = {"name": str}

    def shape(self, row: EndpointGroup) -> dict[str, Any]:
        return {**structs.asdict(row), "filters": msgspec.json.decode(row.filters)}

    async def build(self, draft: Draft) -> EndpointGroup:
        members: NewEndpointGroup = draft.members
        if members.filters == Filters():
            raise Problem(400, "filters field is required and cannot be empty")
        return EndpointGroup(
            id=new_id(draft.request),
            name=members.name,
            description=members.description,
            filters=encoded(members.filters).decode(),
        )

    async def change(self, row: EndpointGroup, draft: Draft) -> EndpointGroup:
        members: ChangedEndpointGroup = draft.members
        changed = given(members)
        if "description" in changed:
            changed["description"] = members.description
        changed.pop("filters", None)
        if isinstance(members.filters, Filters):
            changed["filters"] = encoded(members.filters).decode()
        return structs.replace(row, **changed)


ENDPOINT_GROUPS: Final = EndpointGroups()


class _Associations:
    """Associations of projects with endpoints or with endpoint groups."""

    def __init__(self, what: str, kind: type[Row], *, order: str) -> None:
        self._what = what
        self._kind = kind
        self._one = f"{_BASE}/{order}"

    def routes(self, *, check_shows: bool) -> tuple[Route, ...]:
        """Return the rows: add, check, remove, list the projects. ``check_shows``: GET has a body."""
        what = self._what
        get = f"identity:{'get' if check_shows else 'check'}_{what}_in_project"
        many = f"{_BASE}/{what}s/{{ident}}/projects"
        listed = (
            f"identity:list_projects_associated_with_{what}"
            if check_shows
            else f"identity:list_projects_for_{what}"
        )
        return (
            Route("PUT", self._one, self.add, f"identity:add_{what}_to_project", 204),
            Route("GET", self._one, self.show, get)
            if check_shows
            else Route("GET", self._one, self.check, get, 204),
            Route("HEAD", self._one, self.check, get, 200 if check_shows else 204),
            Route("DELETE", self._one, self.remove, f"identity:remove_{what}_from_project", 204),
            Route("GET", many, self.projects, listed),
        )

    async def _parts(self, request: Request, c: Connection) -> tuple[str, str]:
        """The ids of the path, which exist. Raises Problem 404."""
        ident, project_id = request.params["ident"], request.params["project_id"]
        if await identity.get(c, self._kind, ident) is None:
            raise not_found(self._what, ident)
        if await identity.get(c, Project, project_id) is None:
            raise not_found("project", project_id)
        return ident, project_id

    async def add(self, request: Request) -> Response:
        """Let the project see it; repeating it changes nothing."""
        async with request.services.pool.acquire() as c, c.transaction():
            ident, project_id = await self._parts(request, c)
            await catalog.associate(c, self._what, project_id, ident)
        return Response()

    async def check(self, request: Request) -> Response:
        """Nothing when they are associated, else 404."""
        async with request.services.read_pool.acquire() as c:
            ident, project_id = await self._parts(request, c)
            found = await catalog.is_associated(c, self._what, project_id, ident)
        if not found:
            raise not_found(f"{self._what} in project", ident)
        return Response()

    async def show(self, request: Request) -> Response:
        """The association."""
        await self.check(request)
        ident, project_id = request.params["ident"], request.params["project_id"]
        name = f"project_{self._what}"
        links = {"self": request.base_url + request.path}
        return Response({name: {f"{self._what}_id": ident, "project_id": project_id, "links": links}})

    async def remove(self, request: Request) -> Response:
        """End the association."""
        async with request.services.pool.acquire() as c, c.transaction():
            ident, project_id = await self._parts(request, c)
            if not await catalog.dissociate(c, self._what, project_id, ident):
                raise not_found(f"{self._what} in project", ident)
        return Response()

    async def projects(self, request: Request) -> Response:
        """The projects associated with one."""
        ident = request.params["ident"]
        async with request.services.read_pool.acquire() as c:
            if await identity.get(c, self._kind, ident) is None:
                raise not_found(self._what, ident)
            rows = await catalog.projects_with(c, self._what, ident)
        return listing(request, "projects", [PROJECTS.body_of(request, row) for row in rows])


async def list_endpoints_in_group(request: Request) -> Response:
    """The endpoints in a group."""
    async with request.services.read_pool.acquire() as c:
        group = await ENDPOINT_GROUPS.found(request, c)
        rows = await catalog.endpoints_in(c, group.id)
    return listing(request, "endpoints", [ENDPOINTS.body_of(request, row) for row in rows])


async def _project(request: Request, c: Connection) -> str:
    project_id = request.params["project_id"]
    if await identity.get(c, Project, project_id) is None:
        raise not_found("project", project_id)
    return project_id


async def list_endpoints_of_project(request: Request) -> Response:
    """The endpoints a project sees."""
    async with request.services.read_pool.acquire() as c:
        project_id = await _project(request, c)
        rows = await catalog.endpoints_of(c, project_id) or await identity.find(c, Endpoint, {})
    return listing(request, "endpoints", [ENDPOINTS.body_of(request, row) for row in rows])


async def list_groups_of_project(request: Request) -> Response:
    """The endpoint groups associated with a project."""
    async with request.services.read_pool.acquire() as c:
        rows = await catalog.groups_of(c, await _project(request, c))
    return listing(request, "endpoint_groups", [ENDPOINT_GROUPS.body_of(request, row) for row in rows])


_OF_ENDPOINTS: Final = _Associations("endpoint", Endpoint, order="projects/{project_id}/endpoints/{ident}")
_OF_GROUPS: Final = _Associations(
    "endpoint_group", EndpointGroup, order="endpoint_groups/{ident}/projects/{project_id}"
)

ROUTES: Final = (
    *ENDPOINT_GROUPS.routes(),
    *_OF_ENDPOINTS.routes(check_shows=False),
    *_OF_GROUPS.routes(check_shows=True),
    Route(
        "GET",
        f"{_BASE}/endpoint_groups/{{id}}/endpoints",
        list_endpoints_in_group,
        "identity:list_endpoints_associated_with_endpoint_group",
    ),
    Route(
        "GET",
        f"{_BASE}/projects/{{project_id}}/endpoints",
        list_endpoints_of_project,
        "identity:list_endpoints_for_project",
    ),
    Route(
        "GET",
        f"{_BASE}/projects/{{project_id}}/endpoint_groups",
        list_groups_of_project,
        "identity:list_endpoint_groups_for_project",
    ),
)
