"""Key pairs: a user's public keys. A private key is made up to 2.91, answered once and never kept.

Source: Compute API reference, "Keypairs".
"""
# ruff: noqa: PLR2004  the numbers are microversions

import re
from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, UnsetType

from gateway.compute.key import make_certificate, make_pair, ssh_fingerprint, x509_fingerprint
from gateway.compute.query import bad_marker, minor, next_link, page_of, pool, refuse_unknown
from gateway.compute.quota import limits_of
from gateway.compute.schema import Body, Name, ProjectId, check, printable, required, since
from gateway.policy import Target
from gateway.problem import Problem
from gateway.request import Request, Response
from protocol.view import stamp
from store.compute import KeypairRow, Taken, add_keypair, keypair, keypairs, remove_keypair

KEY_LENGTH_MAX: Final = 16_384
_NAME: Final = re.compile(r"\A[_\- a-zA-Z0-9]+\Z")
_NAME_292: Final = re.compile(r"\A[_\-@. a-zA-Z0-9]+\Z")
_FINGERPRINT: Final = {"ssh": ssh_fingerprint, "x509": x509_fingerprint}


class NewKeypair(Body, frozen=True):
    """``keypair`` of POST /os-keypairs."""

    name: Name
    public_key: Annotated[Annotated[str, Meta(max_length=KEY_LENGTH_MAX)] | UnsetType, required(92)] = UNSET
    type: Annotated[Literal["ssh", "x509"] | UnsetType, since(2)] = UNSET
    user_id: Annotated[ProjectId | UnsetType, since(10)] = UNSET


class CreateBody(Body, frozen=True):
    """POST /os-keypairs."""

    keypair: NewKeypair


def _user_of(request: Request) -> str:
    """Whose key pairs are meant: the caller's, or from 2.10 on those of ``user_id``. Raises Problem."""
    at = minor(request)
    refuse_unknown(request, {"user_id", "limit", "marker"})
    user: str = request.query.get("user_id", "") if at >= 10 else ""
    user = user or request.caller.user_id
    request.authorize(Target(user_id=user))
    return user


def _shown(row: KeypairRow, at: int) -> dict[str, Any]:
    shown = {"name": row.name, "public_key": row.public_key, "fingerprint": row.fingerprint}
    return {**shown, "type": row.type} if at >= 2 else shown


def _missing(name: str, user: str) -> Problem:
    return Problem(404, f"Keypair {name} not found for user {user}")


async def list_keypairs(request: Request) -> Response:
    """``GET /os-keypairs``; in pages from 2.35 on."""
    user, at = _user_of(request), minor(request)
    limit, marker = page_of(request, from_minor=35)
    async with pool(request).acquire() as connection:
        rows = await keypairs(connection, user, marker=marker, limit=limit + 1)
    if rows is None:
        raise bad_marker(marker)
    page = rows[:limit]
    found: dict[str, Any] = {"keypairs": [{"keypair": _shown(row, at)} for row in page]}
    if at >= 35 and len(rows) > limit and page:
        found["keypairs_links"] = next_link(request, page[-1].name)
    return Response(found)


async def show_keypair(request: Request) -> Response:
    """``GET /os-keypairs/{name}``."""
    user, name = _user_of(request), request.params["name"]
    async with pool(request).acquire() as connection:
        row = await keypair(connection, user, name)
    if row is None:
        raise _missing(name, user)
    shown = {
        **_shown(row, minor(request)),
        "user_id": row.user_id,
        "id": row.n,
        "created_at": stamp(row.created_at, zone=".000000"),
        "updated_at": None,
        "deleted": False,
        "deleted_at": None,
    }
    return Response({"keypair": shown})


async def create_keypair(request: Request) -> Response:
    """``POST /os-keypairs``: import a public key, or up to 2.91 make a pair. 200 up to 2.1, then 201."""
    body: CreateBody = request.body
    at = minor(request)
    check(body, at)
    wish = body.keypair
    user = request.caller.user_id if wish.user_id is UNSET else wish.user_id
    request.authorize(Target(user_id=user))
    name = _checked_name(wish.name.strip(), at)
    kind = "ssh" if wish.type is UNSET else wish.type
    now = request.services.clock.now()
    private = None
    if wish.public_key is not UNSET:
        public = wish.public_key
    elif kind == "ssh":
        private, public = make_pair()
    else:
        private, public = make_certificate(user, now)
    row = KeypairRow(
        user_id=user,
        name=name,
        type=kind,
        public_key=public,
        fingerprint=_fingerprint(kind, public),
        created_at=now,
    )
    await _add(request, row)
    shown = {**_shown(row, at), "user_id": user}
    if private is not None:
        shown["private_key"] = private
    return Response({"keypair": shown}, status=201 if at >= 2 else 200)


def _checked_name(name: str, at: int) -> str:
    if not (_NAME_292 if at >= 92 else _NAME).match(name):
        raise Problem(400, "Keypair data is invalid: Keypair name contains unsafe characters")
    return name


def _fingerprint(kind: str, public: str) -> str:
    if kind == "ssh" and not printable(public.strip()):
        raise Problem(400, "Keypair data is invalid: an ssh key is one line of printable characters")
    try:
        return _FINGERPRINT[kind](public.strip())
    except ValueError as error:
        raise Problem(400, "Keypair data is invalid: failed to generate fingerprint") from error


async def _add(request: Request, row: KeypairRow) -> None:
    async with request.services.pool.acquire() as connection:
        limit = (await limits_of(connection, request.caller.project_id))["key_pairs"]
        try:
            added = await add_keypair(connection, row, limit=limit)
        except Taken as taken:
            raise Problem(409, f"Key pair '{row.name}' already exists.") from taken
    if not added:
        raise Problem(403, "Quota exceeded, too many key pairs.")


async def delete_keypair(request: Request) -> Response:
    """``DELETE /os-keypairs/{name}``: 202 up to 2.1, then 204. Servers keep their copy."""
    user, name = _user_of(request), request.params["name"]
    async with request.services.pool.acquire() as connection:
        if not await remove_keypair(connection, user, name):
            raise _missing(name, user)
    return Response(status=204 if minor(request) >= 2 else 202)
