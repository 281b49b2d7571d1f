"""OAuth 1 consumers: kept here; logins by OAuth 1 are not there.

Source: Identity API v3, OS-OAUTH1. The secret is shown once, when it is made.
"""

from typing import Any, ClassVar, Final

from msgspec import UNSET, Struct, UnsetType, structs

from gateway.identity.collection import Collection, Draft, Text, given, new_id
from gateway.request import Request
from process.secret import long_secret
from store.consumer import Consumer


class NewConsumer(Struct, forbid_unknown_fields=True):
    """Members of a consumer to create."""

    description: Text | None = None


class ChangedConsumer(Struct, forbid_unknown_fields=True):
    """Members of a consumer to change."""

    description: Text | UnsetType | None = UNSET


class Consumers(Collection[Consumer]):
    """The collection at /v3/OS-OAUTH1/consumers."""

    kind = Consumer
    singular, plural = "consumer", "consumers"
    path = "OS-OAUTH1/consumers"
    create_members, update_members = NewConsumer, ChangedConsumer
    filters: ClassVar = {}

    def shape(self, row: Consumer) -> dict[str, Any]:
        return {"id": row.id, "description": row.description}

    def made_body(self, request: Request, row: Consumer) -> dict[str, Any]:
        return {**self.body_of(request, row), "secret": request.services.vault.open(row.secret)}

    async def build(self, draft: Draft) -> Consumer:
        members: NewConsumer = draft.members
        secret = draft.request.services.vault.seal(long_secret())
        return Consumer(id=new_id(draft.request), description=members.description, secret=secret)

    async def change(self, row: Consumer, draft: Draft) -> Consumer:
        changed = given(draft.members)
        if "description" in changed:
            changed["description"] = draft.members.description
        return structs.replace(row, **changed)


CONSUMERS: Final = Consumers()
