"""Projects: the owners of everything else, in a tree below each domain.

A domain is shown as a project too (``is_domain``), made, changed and deleted as one: what older clients of
hierarchies ask for. Tags are in ``tag.py``. Source: Identity API v3, "Projects".
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from msgspec import UNSET, Struct, UnsetType, structs
from multidict import MultiMapping

from gateway.identity import option
from gateway.identity.collection import (
    Collection,
    Draft,
    ShortName,
    Text,
    given,
    is_flag,
    listing,
    new_id,
    not_found,
    own_domain,
    self_link,
    typed,
)
from gateway.identity.domain import DOMAINS
from gateway.identity.option import ImmutableOption
from gateway.identity.tag import ProjectTags, Tags, check_tags, tag_conditions
from gateway.policy import Target
from gateway.problem import Problem
from gateway.request import Request, Response
from gateway.route import Route
from store import identity, project_tree
from store.filter import Condition
from store.identity import Domain, Project
from store.pool import Connection

PROJECT_DEPTH_MAX: Final = 5  # below the domain. Source: Keystone's max_project_tree_depth
_OF_TREES: Final = ("is_domain", "domain_id", "parent_id")
"""Members only projects have."""


class NewProject(Struct, forbid_unknown_fields=True):
    """Members of a project to create."""

    name: ShortName
    domain_id: str | None = None
    parent_id: str | None = None
    description: Text | None = None
    enabled: bool = True
    is_domain: bool = False
    tags: Tags = []
    options: ImmutableOption | UnsetType = UNSET


class ChangedProject(Struct, forbid_unknown_fields=True):
    """Members of a project to change; domain and parent only to what they are."""

    name: ShortName | UnsetType = UNSET
    domain_id: str | UnsetType | None = UNSET
    parent_id: str | UnsetType | None = UNSET
    description: Text | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    is_domain: bool | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    options: ImmutableOption | UnsetType = UNSET


class Projects(Collection[Project]):
    """The collection at /v3/projects."""

    kind = Project
    notice = "project"
    singular, plural = "project", "projects"
    create_members, update_members = NewProject, ChangedProject
    filters: ClassVar = {"name": str, "domain_id": str, "enabled": bool}
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

    def routes(self) -> tuple[Route, ...]:
        """Return the collection's rows and those of tags."""
        return (*super().routes(), *ProjectTags(self).routes())

    # --- lists ---

    async def list(self, request: Request) -> Response:
        """Projects that pass the filters; with ``is_domain`` domains in their place."""
        query = request.query
        if "is_domain" in query and typed("is_domain", query["is_domain"] or "true", bool):
            if not request.allows("identity:list_domains"):
                return listing(request, self.plural, [])
            answer = await DOMAINS.list(request)
            body: Any = answer.body
            shown = [_domain_as_project(request, domain) for domain in body["domains"]]
            return Response({self.plural: shown, "links": body["links"]})
        return await super().list(request)

    async def conditions(self, query: MultiMapping[str], c: Connection) -> Sequence[Condition]:
        """By tags and by parent, which may be a domain: that is the projects right below it."""
        found, parent_id = tag_conditions(query), query.get("parent_id")
        if parent_id is None:
            return found
        if await identity.get(c, Domain, parent_id) is None:
            return [*found, Condition("parent_id", "=", parent_id)]
        right_below = Condition("parent_id", "is null", value=True)
        return [*found, right_below, Condition("domain_id", "=", parent_id)]

    # --- one ---

    async def show(self, request: Request) -> Response:
        """One project, and what is above and below it when the query asks."""
        query = request.query
        async with request.services.read_pool.acquire() as c:
            domain = await self._as_domain(request, c, "")
            if domain is not None:
                shown = _domain_as_project(request, DOMAINS.body_of(request, domain))
                return Response({self.singular: shown})
            row = await self.found(request, c)
            shown = self.body_of(request, row)
            if any(is_flag(query, name) for name in _EXPANSIONS):
                shown |= await self._expanded(request, c, row)
        return Response({self.singular: shown})

    async def _expanded(self, request: Request, c: Connection, row: Project) -> dict[str, Any]:
        query = request.query
        for side in ("parents", "subtree"):
            if is_flag(query, f"{side}_as_list") and is_flag(query, f"{side}_as_ids"):
                raise Problem(
                    400, f"Cannot use {side}_as_list and {side}_as_ids query params at the same time."
                )
        found: dict[str, Any] = {}
        above = await project_tree.above(c, row.id)
        below = await project_tree.below(c, row.id)
        if is_flag(query, "parents_as_ids"):
            nested: Any = {row.domain_id: None}
            for parent in reversed(above):
                nested = {parent.id: nested}
            found["parents"] = nested
        if is_flag(query, "subtree_as_ids"):
            found["subtree"] = _nested(row.id, below)
        if is_flag(query, "parents_as_list") or is_flag(query, "subtree_as_list"):
            reach = await identity.projects_of(c, request.caller.user_id, enabled=False)
            own = {project.id for project in reach}
            for side, rows in (("parents", above), ("subtree", below)):
                if is_flag(query, f"{side}_as_list"):
                    found[side] = [
                        {self.singular: self.body_of(request, one)} for one in rows if one.id in own
                    ]
        return found

    # --- changes ---

    async def create(self, request: Request) -> Response:
        """A new project, or with ``is_domain`` a new domain."""
        sent = request.body.get(self.singular)
        if not isinstance(sent, dict) or sent.get("is_domain") is not True:
            return await super().create(request)
        request.authorize(Target(), "identity:create_domain")
        if sent.get("domain_id") or sent.get("parent_id"):
            raise Problem(400, "only root projects are allowed to act as domains.")
        return await self._by_domain(request, DOMAINS.create)

    async def update(self, request: Request) -> Response:
        """Change the members given, keep the others."""
        async with request.services.pool.acquire() as c:
            domain = await self._as_domain(request, c, "identity:update_domain")
        if domain is None:
            return await super().update(request)
        sent = request.body.get(self.singular)
        if isinstance(sent, dict) and (
            sent.get("is_domain", True) is not True or sent.get("domain_id") or sent.get("parent_id")
        ):
            raise Problem(400, "Update of `is_domain`, `domain_id` or `parent_id` is not allowed.")
        return await self._by_domain(request, DOMAINS.update)

    async def delete(self, request: Request) -> Response:
        """Remove a project that has none below it, or a disabled domain."""
        async with request.services.pool.acquire() as c:
            domain = await self._as_domain(request, c, "identity:delete_domain")
        return await (super().delete(request) if domain is None else DOMAINS.delete(request))

    async def build(self, draft: Draft) -> Project:
        members: NewProject = draft.members
        check_tags(members.tags)
        domain_id, parent_id = members.domain_id, members.parent_id
        if domain_id is None and parent_id is not None:
            domain_id = await _domain_of(draft.c, parent_id)
        domain_id = domain_id or own_domain(draft.request)
        if await identity.get(draft.c, Domain, domain_id) is None:
            raise Problem(400, not_found("domain", domain_id).message)
        parent_id = parent_id if parent_id != domain_id else None
        await project_tree.lock(draft.c, domain_id)
        await _check_parent(draft.c, parent_id, domain_id)
        return Project(
            id=new_id(draft.request),
            domain_id=domain_id,
            parent_id=parent_id,
            name=members.name.strip(),
            description=members.description or "",
            enabled=members.enabled,
            tags=members.tags,
            options=option.merged("{}", members.options),
            extra=draft.extra,
        )

    async def change(self, row: Project, draft: Draft) -> Project:
        changed = given(draft.members)
        check_tags(changed.get("tags", []))
        if changed.pop("domain_id", row.domain_id) != row.domain_id:
            raise Problem(400, "Cannot change Domain ID")
        if changed.pop("parent_id", row.parent_id) not in (row.parent_id, row.parent_id or row.domain_id):
            raise Problem(403, "Update of `parent_id` is not allowed.")
        if changed.pop("is_domain", False):
            raise Problem(400, "Update of `is_domain` is not allowed.")
        if changed.get("enabled", row.enabled) != row.enabled:
            await _check_switch(draft.c, row)
        if "name" in changed:
            changed["name"] = changed["name"].strip()
        changed["options"] = option.merged(row.options, changed.pop("options", UNSET))
        # Disabling voids the tokens for good, as for users.
        epoch = row.epoch + (row.enabled and changed.get("enabled") is False)
        return structs.replace(row, extra=draft.extra, epoch=epoch, **changed)

    async def remove(self, request: Request, c: Connection, row: Project) -> None:
        await project_tree.lock(c, row.domain_id)
        if await project_tree.below(c, row.id):
            raise Problem(
                403,
                f"Cannot delete the project {row.id} since it is not a leaf in the hierarchy. Use the cascade"
                " option if you want to delete a whole subtree.",
            )
        await project_tree.forget_default(c, row.id)
        await super().remove(request, c, row)

    # --- domains as projects ---

    async def _as_domain(self, request: Request, c: Connection, rule: str) -> Domain | None:
        """The domain whose id the path has, if it is one and the caller may."""
        domain = await identity.get(c, Domain, request.params["id"])
        if domain is not None:
            request.authorize(DOMAINS.target(domain), rule)
        return domain

    async def _by_domain(self, request: Request, call: Any) -> Response:
        """Do with the domain what was asked for the project."""
        if set(request.body) != {self.singular}:
            raise Problem(400, "Invalid request body: it must hold 'project' and nothing else.")
        sent = request.body[self.singular]
        body = {name: value for name, value in sent.items() if name not in _OF_TREES}
        request.body = {DOMAINS.singular: body}
        answer: Response = await call(request)
        shown: Any = answer.body
        return Response({self.singular: _domain_as_project(request, shown[DOMAINS.singular])})


_EXPANSIONS: Final = ("parents_as_list", "parents_as_ids", "subtree_as_list", "subtree_as_ids")


def _domain_as_project(request: Request, domain: dict[str, Any]) -> dict[str, Any]:
    links = self_link(request, "projects", domain["id"])
    return {**domain, "is_domain": True, "domain_id": None, "parent_id": None, "links": links}


def _nested(top: str, rows: Sequence[Project]) -> dict[str, Any] | None:
    """Ids of projects, each with those below it; None where there are none."""
    children: dict[str, list[str]] = {}
    for row in rows:
        children.setdefault(row.parent_id or "", []).append(row.id)

    def under(ident: str) -> dict[str, Any] | None:
        return {child: under(child) for child in children[ident]} if ident in children else None

    return under(top)


async def _domain_of(c: Connection, parent_id: str) -> str:
    """The domain a parent belongs to, or is. Raises Problem 400."""
    parent = await identity.get(c, Project, parent_id)
    if parent is not None:
        return parent.domain_id
    if await identity.get(c, Domain, parent_id) is None:
        raise Problem(400, not_found("project", parent_id).message)
    return parent_id


async def _check_parent(c: Connection, parent_id: str | None, domain_id: str) -> None:
    """Refuse a parent that is not there, elsewhere, disabled or too deep. Raises Problem 400 or 403."""
    if parent_id is None:
        return
    parent = await identity.get(c, Project, parent_id)
    if parent is None:
        raise Problem(400, not_found("project", parent_id).message)
    if parent.domain_id != domain_id:
        raise Problem(
            400,
            f"Cannot create project, since it specifies its domain_id {domain_id}, but specifies a parent in"
            f" a different domain ({parent.domain_id}).",
        )
    branch = [parent, *await project_tree.above(c, parent_id)]
    for row in branch:
        if not row.enabled:
            raise Problem(400, f"cannot create a project in a branch containing a disabled project: {row.id}")
    if len(branch) >= PROJECT_DEPTH_MAX:
        raise Problem(403, f"Max hierarchy depth reached for {parent_id} branch.")


async def _check_switch(c: Connection, row: Project) -> None:
    """Refuse to enable below what is disabled, or to disable above what is enabled. Raises Problem 403."""
    await project_tree.lock(c, row.domain_id)
    if row.enabled:
        if any(one.enabled for one in await project_tree.below(c, row.id)):
            raise Problem(
                403, f"Cannot disable project {row.id} since its subtree contains enabled projects."
            )
        return
    domain = await identity.get(c, Domain, row.domain_id)
    if not all(one.enabled for one in await project_tree.above(c, row.id)) or not (domain and domain.enabled):
        raise Problem(403, f"Cannot enable project {row.id} since it has disabled parents")


PROJECTS: Final = Projects()
