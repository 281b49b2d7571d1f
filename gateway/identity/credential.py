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


def bound_pair(request: Request, pair: dict[str, Any]) -> str:
    """The blob of a new pair: made with a delegated token, it is good for no more than that."""
    granted, lent = request.caller.app_credential, request.caller.trust
    bond = {} if granted is None else {"app_cred_id": granted.id}
    if lent is not None:
        bond["trust_id"] = lent.id
    return msgspec.json.encode({**pair, **bond}).decode()


def check_delegated(request: Request, project_id: str | None) -> None:
    """Keep a delegated token to the credentials of its project. Raises Problem 403."""
    if request.caller.is_delegated and project_id != request.caller.project_id:
        raise Problem(403, "The credential is not one of the project that was delegated.")


def check_unrestricted(request: Request, what: str) -> None:
    """Refuse a token of a restricted application credential. Raises Problem 403."""
    granted = request.caller.app_credential
    if granted is not None and granted.restricted:
        raise Problem(403, f"A restricted application credential may not manage {what}.")


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
        if request.caller.is_delegated:
            equal = {**equal, "project_id": request.caller.project_id}
        if request.allows(request.route.policy, Target(user_id="")):
            return equal
        return {**equal, "user_id": own} if equal.get("user_id", own) == own else None

    def body_of(self, request: Request, row: Credential) -> dict[str, Any]:
        """The credential with its blob opened."""
        return {**super().body_of(request, row), "blob": request.services.vault.open(row.blob)}

    async def found(self, request: Request, c: Connection, *, lock: bool = False) -> Credential:
        """The credential of the path. Raises Problem 404 or 403."""
        row = await super().found(request, c, lock=lock)
        check_delegated(request, row.project_id)
        return row

    def shape(self, row: Credential) -> dict[str, Any]:
        return {"id": row.id, "user_id": row.user_id, "type": row.type, "project_id": row.project_id}

    async def build(self, draft: Draft) -> Credential:
        members: NewCredential = draft.members
        request, blob, found_by = draft.request, members.blob, None
        check_delegated(request, members.project_id)
        await check_room(draft.c, members.user_id)
        if members.type == EC2:
            check_unrestricted(request, "EC2 credentials")
            found_by = _checked_pair(blob, {}, members.project_id)
            blob = bound_pair(request, pair_in(blob))
        return Credential(
            id=found_by or new_id(request),
            user_id=members.user_id,
            type=members.type,
            project_id=members.project_id,
            blob=request.services.vault.seal(blob),
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
        check_delegated(request, after.project_id)
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
