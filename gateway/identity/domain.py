"""Domains: name spaces of users, groups and projects."""

from typing import Any, ClassVar, Final

from msgspec import UNSET, Struct, UnsetType, structs

from gateway.identity import option
from gateway.identity.collection import Collection, Draft, ShortName, Text, given, new_id
from gateway.identity.option import ImmutableOption
from gateway.identity.tag import Tags, check_tags
from gateway.policy import Target
from gateway.problem import Problem
from gateway.request import Request
from store.identity import Domain


class NewDomain(Struct, forbid_unknown_fields=True):
    """Members of a domain to create."""

    name: ShortName
    description: Text | None = None
    enabled: bool = True
    tags: Tags = []
    options: ImmutableOption | UnsetType = UNSET


class ChangedDomain(Struct, forbid_unknown_fields=True):
    """Members of a domain to change."""

    name: ShortName | UnsetType = UNSET
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

    def authorize(self, request: Request, row: Domain) -> None:
        """A project's people may look at the domain it is in."""
        caller = request.caller
        project = caller.project_id if caller.project_domain_id == row.id else ""
        request.authorize(Target(domain_id=row.id, project_id=project))

    async def build(self, draft: Draft) -> Domain:
        members: NewDomain = draft.members
        check_tags(members.tags)
        return Domain(
            id=new_id(draft.request),
            name=members.name.strip(),
            description=members.description or "",
            enabled=members.enabled,
            tags=members.tags,
            options=option.merged("{}", members.options),
            extra=draft.extra,
        )

    async def change(self, row: Domain, draft: Draft) -> Domain:
        changed = given(draft.members)
        check_tags(changed.get("tags", []))
        changed["options"] = option.merged(row.options, changed.pop("options", UNSET))
        # Disabling voids the tokens for good, as for users.
        epoch = row.epoch + (row.enabled and changed.get("enabled") is False)
        return structs.replace(row, extra=draft.extra, epoch=epoch, **changed)

    def check_removable(self, row: Domain) -> None:
        if row.enabled:
            raise Problem(403, "Cannot delete a domain that is enabled, please disable it first.")


DOMAINS: Final = Domains()
