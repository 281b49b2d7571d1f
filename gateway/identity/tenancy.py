"""Domains and projects: the owners of everything else."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from gateway.identity import option
from gateway.identity.collection import Collection, Draft, given, new_id, not_found, own_domain
from gateway.identity.option import ImmutableOption
from gateway.policy import Target
from gateway.problem import Problem
from gateway.request import Request, Response
from gateway.route import Route
from store import identity
from store.identity import Domain, Project
from store.pool import Connection

PROJECT_DEPTH_MAX: Final = 5  # Source: Keystone's max_project_tree_depth
TAGS_MAX: Final = 80
TAG_LENGTH_MAX: Final = 255

Name = Annotated[str, Meta(min_length=1, max_length=64)]
Text = Annotated[str, Meta(max_length=8192)]
Tag = Annotated[str, Meta(min_length=1, max_length=TAG_LENGTH_MAX, pattern="^[^,/]*$")]
Tags = Annotated[list[Tag], Meta(max_length=TAGS_MAX)]


class NewDomain(Struct, forbid_unknown_fields=True):
    """Members of a domain to create."""

    name: Name
    description: Text | None = None
    enabled: bool = True
    tags: Tags = []
    options: ImmutableOption | UnsetType = UNSET


class ChangedDomain(Struct, forbid_unknown_fields=True):
    """Members of a domain to change."""

    name: Name | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    options: ImmutableOption | UnsetType = UNSET


class Domains(Collection[Domain]):
    """Source: Identity API v3, "Domains"."""

    kind = Domain
    notice = "domain"
    singular, plural = "domain", "domains"
    create_members, update_members = NewDomain, ChangedDomain
    filters: ClassVar = {"name": str, "enabled": bool}
    takes_extra = True

    def shape(self, row: Domain) -> dict[str, Any]:
        return {
            "id": row.id,
            "name": row.name,
            "description": row.description,
            "enabled": row.enabled,
            "tags": row.tags,
            "options": option.shown(row.options),
        }

    def target(self, row: Domain) -> Target:
        return Target(domain_id=row.id)

    async def build(self, draft: Draft) -> Domain:
        members: NewDomain = draft.members
        return Domain(
            id=new_id(draft.request),
            name=members.name,
            description=members.description or "",
            enabled=members.enabled,
            tags=members.tags,
            options=option.merged("{}", members.options),
            extra=draft.extra,
        )

    async def change(self, row: Domain, draft: Draft) -> Domain:
        changed = given(draft.members)
        changed["options"] = option.merged(row.options, changed.pop("options", UNSET))
        # Disabling voids the tokens for good, as for users.
        epoch = row.epoch + (row.enabled and changed.get("enabled") is False)
        return structs.replace(row, extra=draft.extra, epoch=epoch, **changed)

    def check_removable(self, row: Domain) -> None:
        if row.enabled:
            raise Problem(403, "Cannot delete a domain that is enabled, please disable it first.")


class NewProject(Struct, forbid_unknown_fields=True):
    """Members of a project to create."""

    name: Name
    domain_id: str | None = None
    parent_id: str | None = None
    description: Text | None = None
    enabled: bool = True
    is_domain: bool = False
    tags: Tags = []
    options: ImmutableOption | UnsetType = UNSET


class ChangedProject(Struct, forbid_unknown_fields=True):
    """Members of a project to change; domain and parent only to what they are."""

    name: Name | UnsetType = UNSET
    domain_id: str | UnsetType = UNSET
    parent_id: str | UnsetType | None = UNSET
    description: Text | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    is_domain: bool | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    options: ImmutableOption | UnsetType = UNSET


class Projects(Collection[Project]):
    """Source: Identity API v3, "Projects"."""

    kind = Project
    notice = "project"
    singular, plural = "project", "projects"
    create_members, update_members = NewProject, ChangedProject
    filters: ClassVar = {"name": str, "domain_id": str, "parent_id": str, "enabled": bool}
    takes_extra = True
    in_domain = True

    def shape(self, row: Project) -> dict[str, Any]:
        return {
            "id": row.id,
            "name": row.name,
            "domain_id": row.domain_id,
            "parent_id": row.parent_id or row.domain_id,
            "description": row.description,
            "enabled": row.enabled,
            "is_domain": False,
            "tags": row.tags,
            "options": option.shown(row.options),
        }

    def target(self, row: Project) -> Target:
        return Target(project_id=row.id, domain_id=row.domain_id)

    async def build(self, draft: Draft) -> Project:
        members: NewProject = draft.members
        if members.is_domain:
            raise Problem(400, "A project cannot act as a domain here; create a domain.")
        domain_id = members.domain_id or own_domain(draft.request)
        if await identity.get(draft.c, Domain, domain_id) is None:
            raise not_found("domain", domain_id)
        parent_id = members.parent_id if members.parent_id != domain_id else None
        await _check_parent(draft.c, parent_id, domain_id)
        return Project(
            id=new_id(draft.request),
            domain_id=domain_id,
            parent_id=parent_id,
            name=members.name,
            description=members.description or "",
            enabled=members.enabled,
            tags=members.tags,
            options=option.merged("{}", members.options),
            extra=draft.extra,
        )

    async def change(self, row: Project, draft: Draft) -> Project:
        changed = given(draft.members)
        if changed.pop("domain_id", row.domain_id) != row.domain_id:
            raise Problem(400, "A project's domain cannot be changed.")
        if changed.pop("parent_id", row.parent_id) not in (row.parent_id, row.parent_id or row.domain_id):
            raise Problem(403, "A project's parent cannot be changed.")
        if changed.pop("is_domain", False):
            raise Problem(400, "A project cannot become a domain.")
        changed["options"] = option.merged(row.options, changed.pop("options", UNSET))
        epoch = row.epoch + (row.enabled and changed.get("enabled") is False)
        return structs.replace(row, extra=draft.extra, epoch=epoch, **changed)

    def routes(self) -> tuple[Route, ...]:
        """Return the collection's rows and those of project tags."""
        many, one = "/v3/projects/{id}/tags", "/v3/projects/{id}/tags/{tag}"
        update, get = "identity:update_project", "identity:get_project"
        return (
            *super().routes(),
            Route("GET", many, self.tags, get),
            Route("PUT", many, self.set_tags, update, request=dict[str, Tags]),
            Route("DELETE", many, self.clear_tags, update, 204),
            Route("GET", one, self.has_tag, get, 204),
            Route("HEAD", one, self.has_tag, get, 204),
            Route("PUT", one, self.add_tag, update, 201),
            Route("DELETE", one, self.drop_tag, update, 204),
        )

    async def tags(self, request: Request) -> Response:
        """All tags of a project."""
        async with request.services.read_pool.acquire() as c:
            return Response({"tags": (await self.found(request, c)).tags, "links": self._tag_links(request)})

    async def has_tag(self, request: Request) -> Response:
        """204 when the project has the tag, else 404."""
        async with request.services.read_pool.acquire() as c:
            if request.params["tag"] not in (await self.found(request, c)).tags:
                raise not_found("tag", request.params["tag"])
        return Response()

    async def set_tags(self, request: Request) -> Response:
        """Replace all tags."""
        wanted = request.body.get("tags")
        if wanted is None:
            raise Problem(400, "Invalid request body: Object missing required field `tags`")
        tags = await self._write_tags(request, lambda _: list(dict.fromkeys(wanted)))
        return Response({"tags": tags, "links": self._tag_links(request)})

    async def clear_tags(self, request: Request) -> Response:
        """Remove all tags."""
        await self._write_tags(request, lambda _: [])
        return Response()

    async def add_tag(self, request: Request) -> Response:
        """Add one tag; repeating it changes nothing."""
        tag = request.params["tag"]
        if not tag or len(tag) > TAG_LENGTH_MAX or "," in tag or "/" in tag:
            raise Problem(400, "A tag has 1 to 255 characters, none of them a comma or a slash.")
        await self._write_tags(request, lambda tags: [*tags, tag] if tag not in tags else tags)
        return Response()

    async def drop_tag(self, request: Request) -> Response:
        """Remove one tag."""
        tag = request.params["tag"]

        def without(tags: list[str]) -> list[str]:
            if tag not in tags:
                raise not_found("tag", tag)
            return [kept for kept in tags if kept != tag]

        await self._write_tags(request, without)
        return Response()

    async def _write_tags(self, request: Request, edit: Callable[[list[str]], list[str]]) -> list[str]:
        async with request.services.pool.acquire() as c, c.transaction():
            row = await self.found(request, c, lock=True)
            tags = edit(row.tags)
            if len(tags) > TAGS_MAX:
                raise Problem(400, f"A project has at most {TAGS_MAX} tags.")
            await identity.replace(c, structs.replace(row, tags=tags))
        return tags

    def _tag_links(self, request: Request) -> dict[str, Any]:
        return {"self": request.base_url + request.path, "previous": None, "next": None}


async def _check_parent(c: Connection, parent_id: str | None, domain_id: str) -> None:
    depth = 1
    while parent_id is not None:
        parent = await identity.get(c, Project, parent_id)
        if parent is None or parent.domain_id != domain_id:
            raise not_found("project", parent_id)
        depth += 1
        if depth > PROJECT_DEPTH_MAX:
            raise Problem(403, f"Projects nest at most {PROJECT_DEPTH_MAX} levels deep.")
        parent_id = parent.parent_id
