"""Credentials: secrets that users keep here, of any type. Source: Identity API v3, "Credentials".

An EC2 pair is found by its access key (gateway/identity/ec2.py); a TOTP seed proves a second factor. What
a blob holds is sealed before the database sees it, and nothing here logs it.
"""

import hashlib
from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, structs

from gateway.identity.collection import Collection, Draft, given, new_id
from gateway.policy import Target
from gateway.problem import Problem
from gateway.request import Request
from store import identity
from store.identity import Credential
from store.pool import Connection

BLOB_LENGTH_MAX: Final = 65_536
CREDENTIALS_MAX: Final = 500
"""How many one user may have."""
EC2: Final = "ec2"
_DELEGATED: Final = ("trust_id", "app_cred_id", "access_token_id")
"""Members of an EC2 blob that bind the pair to a delegation; only the gateway sets them."""

Id = Annotated[str, Meta(min_length=1, max_length=255)]
Blob = Annotated[str, Meta(max_length=BLOB_LENGTH_MAX)]


class NewCredential(Struct, forbid_unknown_fields=True):
    """Members of a credential to create."""

    type: Id
    blob: Blob
    user_id: Id
    project_id: Id | None = None


class ChangedCredential(Struct, forbid_unknown_fields=True):
    """Members of a credential to change."""

    type: Id | UnsetType = UNSET
    blob: Blob | UnsetType = UNSET
    user_id: Id | UnsetType = UNSET
    project_id: Id | UnsetType | None = UNSET


def access_hash(access: str) -> str:
    """By what an EC2 pair is found, and its id when it is new. Source: Keystone's ids of EC2 credentials."""
    return hashlib.sha256(access.encode()).hexdigest()


def pair_in(blob: str) -> dict[str, Any]:
    """What an EC2 blob says, its access key at least. Raises Problem 400."""
    try:
        found = msgspec.json.decode(blob)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Problem(400, "Invalid blob in credential: an ec2 blob is a JSON object.") from error
    if not isinstance(found, dict) or not isinstance(found.get("access"), str) or not found["access"]:
        raise Problem(400, "Invalid blob in credential: an ec2 blob needs an access key.")
    return found


async def check_room(c: Connection, user_id: str) -> None:
    """Refuse one credential too many. Raises Problem 403."""
    if (
        len(await identity.find(c, Credential, {"user_id": user_id}, limit=CREDENTIALS_MAX))
        >= CREDENTIALS_MAX
    ):
        raise Problem(403, f"Unable to create additional credentials, a user has at most {CREDENTIALS_MAX}.")


class Credentials(Collection[Credential]):
    """The collection at /v3/credentials."""

    kind = Credential
    singular, plural = "credential", "credentials"
    create_members, update_members = NewCredential, ChangedCredential
    filters: ClassVar = {"user_id": str, "type": str}
    takes_extra = True

    def target(self, row: Credential) -> Target:
        return Target(user_id=row.user_id)

    def visible(self, request: Request, equal: dict[str, str | bool]) -> dict[str, str | bool] | None:
        own = request.caller.user_id
        if request.allows(request.route.policy, Target(user_id="")):
            return equal
        return {**equal, "user_id": own} if equal.get("user_id", own) == own else None

    def body_of(self, request: Request, row: Credential) -> dict[str, Any]:
        """The credential with its blob opened."""
        return {**super().body_of(request, row), "blob": request.services.vault.open(row.blob)}

    def shape(self, row: Credential) -> dict[str, Any]:
        return {"id": row.id, "user_id": row.user_id, "type": row.type, "project_id": row.project_id}

    async def build(self, draft: Draft) -> Credential:
        members: NewCredential = draft.members
        await check_room(draft.c, members.user_id)
        found_by = None
        if members.type == EC2:
            found_by = _checked_pair(members.blob, {}, members.project_id)
        return Credential(
            id=found_by or new_id(draft.request),
            user_id=members.user_id,
            type=members.type,
            project_id=members.project_id,
            blob=draft.request.services.vault.seal(members.blob),
            access_hash=found_by,
            extra=draft.extra,
        )

    async def change(self, row: Credential, draft: Draft) -> Credential:
        request, changed = draft.request, given(draft.members)
        vault = request.services.vault
        before = vault.open(row.blob)
        blob = changed.get("blob", before)
        after = structs.replace(row, extra=draft.extra, **{**changed, "blob": vault.seal(blob)})
        request.authorize(self.target(after))
        found_by = None
        if after.type == EC2:
            held = pair_in(before) if row.type == EC2 else {}
            found_by = _checked_pair(blob, held, after.project_id)
        return structs.replace(after, access_hash=found_by)


def _checked_pair(blob: str, held: dict[str, Any], project_id: str | None) -> str:
    """The hash of a good pair's access key; ``held`` is what it said before. Raises Problem 400."""
    pair = pair_in(blob)
    if project_id is None:
        raise Problem(400, "An ec2 credential needs a project_id.")
    for name in _DELEGATED:
        if pair.get(name) != held.get(name):
            raise Problem(400, f"{name} of a credential cannot be set or changed.")
    return access_hash(pair["access"])


CREDENTIALS: Final = Credentials()
