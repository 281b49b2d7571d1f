"""EC2 key pairs: making them for a user, and tokens for requests signed with them.

Source: Identity API v3, OS-EC2, ec2tokens, s3tokens. The services that ask for such a token must prove
themselves first: a signature alone, which anybody may have seen, gets nothing.
"""

import base64
import binascii
import hmac
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from gateway.auth import Caller
from gateway.body import decoded
from gateway.identity.authority import Bearer, authority, take_use
from gateway.identity.collection import listing, new_id, not_found
from gateway.identity.credential import (
    EC2,
    Id,
    access_hash,
    bound_pair,
    check_delegated,
    check_room,
    check_unrestricted,
    pair_in,
)
from gateway.identity.document import token_body
from gateway.identity.signature import SignatureError, Signed, ec2_signature, s3_signature
from gateway.policy import Target
from gateway.problem import Problem
from gateway.request import Request, Response
from gateway.route import Route
from process.secret import long_secret
from store import identity, trust
from store.identity import Credential, Dangling, Project, User
from store.pool import Connection

SIGNATURE_AGE_MAX_S: Final = 900.0
METHOD: Final = "ec2credential"
"""The method of tokens got with a signature; the Identity API itself takes none of them."""
_WRAPPERS: Final = ("credentials", "credential", "ec2Credentials")
_NO_MATCH: Final = "The signature does not match."


class NewPair(Struct, forbid_unknown_fields=True):
    """The body of POST /v3/users/{user_id}/credentials/OS-EC2."""

    tenant_id: Id


class SignedString(Struct):
    """A string to sign and its signature, as an S3 service tells them; ``token`` is base64."""

    access: str
    signature: str
    token: Annotated[str, Meta(max_length=65_536)]


def _shaped(request: Request, row: Credential) -> dict[str, Any]:
    pair = pair_in(request.services.vault.open(row.blob))
    path = f"{request.api_url}/v3/users/{row.user_id}/credentials/OS-EC2/{pair['access']}"
    return {
        "user_id": row.user_id,
        "tenant_id": row.project_id,
        "access": pair["access"],
        "secret": pair.get("secret"),
        "trust_id": pair.get("trust_id"),
        "links": {"self": path},
    }


async def _owner(request: Request, c: Connection) -> str:
    """The user of the path, for whom the caller may act. Raises Problem 403 or 404."""
    user_id = request.params["user_id"]
    request.authorize(Target(user_id=user_id))
    if await identity.get(c, User, user_id) is None:
        raise not_found("user", user_id)
    return user_id


async def _found(request: Request, c: Connection) -> Credential:
    user_id, access = await _owner(request, c), request.params["access"]
    rows = await identity.find(c, Credential, {"access_hash": access_hash(access), "user_id": user_id})
    if not rows:
        raise not_found("credential", access)
    check_delegated(request, rows[0].project_id)
    return rows[0]


async def list_pairs(request: Request) -> Response:
    """The user's pairs."""
    async with request.services.read_pool.acquire() as c:
        user_id = await _owner(request, c)
        only = {"project_id": request.caller.project_id} if request.caller.is_delegated else {}
        rows = await identity.find(c, Credential, {"user_id": user_id, "type": EC2, **only})
    return listing(request, "credentials", [_shaped(request, row) for row in rows])


async def create_pair(request: Request) -> Response:
    """A new pair for one of the user's projects."""
    wanted: NewPair = request.body
    pair = {"access": new_id(request), "secret": long_secret(), "trust_id": None}
    check_unrestricted(request, "EC2 credentials")
    async with request.services.pool.acquire() as c, c.transaction():
        user_id = await _owner(request, c)
        if await identity.get(c, Project, wanted.tenant_id) is None:
            raise not_found("project", wanted.tenant_id)
        check_delegated(request, wanted.tenant_id)
        await check_room(c, user_id)
        found_by = access_hash(str(pair["access"]))
        row = Credential(
            id=found_by,
            user_id=user_id,
            type=EC2,
            project_id=wanted.tenant_id,
            blob=request.services.vault.seal(bound_pair(request, pair)),
            access_hash=found_by,
        )
        try:
            await identity.add(c, row)
        except Dangling as error:
            raise not_found("project", wanted.tenant_id) from error
    return Response({"credential": _shaped(request, row)})


async def show_pair(request: Request) -> Response:
    """One pair, by its access key."""
    async with request.services.read_pool.acquire() as c:
        return Response({"credential": _shaped(request, await _found(request, c))})


async def delete_pair(request: Request) -> Response:
    """Remove one."""
    async with request.services.pool.acquire() as c, c.transaction():
        await identity.remove(c, Credential, (await _found(request, c)).id)
    return Response()


# --- tokens for signed requests ------------------------------------------------------------------


async def ec2_token(request: Request) -> Response:
    """A token for a signed request of the EC2 API."""
    signed = _read(request, Signed)
    _check_time(request, signed.time)

    def matches(secret: str) -> bool:
        hosts = dict.fromkeys((signed.host, signed.host.rpartition(":")[0] or signed.host))
        return any(
            _is_equal(ec2_signature(secret, msgspec.structs.replace(signed, host=host)), signed.signature)
            for host in hosts  # some clients sign the host without its port
        )

    token, caller = await _issued(request, signed.access, matches)
    async with request.services.pool.acquire() as c:
        body = await token_body(request, c, caller)
    return Response(body, headers={"X-Subject-Token": token, "Vary": "X-Auth-Token"})


async def s3_token(request: Request) -> Response:
    """Who signed a request of the S3 API. The token itself stays here: an S3 service needs none."""
    signed = _read(request, SignedString)
    try:
        text = base64.urlsafe_b64decode(signed.token.replace("+", "-").replace("/", "_"))
    except (binascii.Error, ValueError) as error:
        raise Problem(400, "Invalid request body: token is not base64.") from error
    _, caller = await _issued(
        request, signed.access, lambda secret: _is_equal(s3_signature(secret, text), signed.signature)
    )
    async with request.services.pool.acquire() as c:
        return Response(await token_body(request, c, caller))


def _read(request: Request, kind: type[Any]) -> Any:
    """What was signed, under whatever word the service wraps it in. Raises Problem 400."""
    body: dict[str, msgspec.Raw] = request.body
    part = next((body[word] for word in _WRAPPERS if word in body), None)
    if part is None:
        raise Problem(400, "Invalid request body: it must hold 'credentials'.")
    return decoded(kind, part)


def _is_equal(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.encode())


def _check_time(request: Request, text: str) -> None:
    """Refuse what was signed long ago, or for later. Raises Problem 401."""
    if not text:
        return
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise Problem(401, "The time of the signature is not valid.") from error
    seconds = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    if abs(request.services.clock.now() - seconds) > SIGNATURE_AGE_MAX_S:
        raise Problem(401, "The signature has expired.")


async def _issued(request: Request, access: str, matches: Callable[[str], bool]) -> tuple[str, Caller]:
    """A token for the owner of the pair, in the pair's project. Raises Problem 401 or 404."""
    services = request.services
    async with services.pool.acquire() as c:
        rows = await identity.find(c, Credential, {"access_hash": access_hash(access), "type": EC2})
        if not rows:
            raise Problem(404, "EC2 access key not found.")
        row = rows[0]
        pair = pair_in(services.vault.open(row.blob))
        secret = pair.get("secret")
        try:
            right = isinstance(secret, str) and matches(secret)
        except SignatureError as error:
            raise Problem(401, f"{_NO_MATCH} ({error})") from error
        if not right:
            raise Problem(401, _NO_MATCH)
        bearer = await _bearer(c, row, pair)
        found = await authority(c, bearer, services.clock.now())
        if found is not None and not await take_use(c, found):
            found = None
    if found is None:
        raise Problem(401, "The owner of the key may not use its project.")
    expires_at = services.clock.now() + services.settings.token_lifetime_s
    return services.tokens.issue(found, (METHOD,), expires_at=expires_at)


async def _bearer(c: Connection, row: Credential, pair: dict[str, Any]) -> Bearer:
    """Whom the pair stands for: its owner, through the delegation it was made with. Raises Problem 401."""
    user_id, lent_id = row.user_id, pair.get("trust_id") or ""
    if lent_id:
        lent = await trust.get(c, lent_id)
        if lent is None:
            raise Problem(401, "The trust of the key is over.")
        user_id = lent.trustee_user_id
    return Bearer(
        user_id=user_id,
        scope="project",
        scope_id=row.project_id or "",
        app_credential_id=pair.get("app_cred_id") or "",
        trust_id=lent_id,
    )


_MANY: Final = "/v3/users/{user_id}/credentials/OS-EC2"
_ONE: Final = "/v3/users/{user_id}/credentials/OS-EC2/{access}"
_Signed = dict[str, msgspec.Raw]

ROUTES: Final = (
    Route("GET", _MANY, list_pairs, "identity:ec2_list_credentials"),
    Route("POST", _MANY, create_pair, "identity:ec2_create_credential", 201, request=NewPair),
    Route("GET", _ONE, show_pair, "identity:ec2_get_credential"),
    Route("DELETE", _ONE, delete_pair, "identity:ec2_delete_credential", 204),
    Route("POST", "/v3/ec2tokens", ec2_token, "identity:ec2tokens_validate", request=_Signed),
    Route("POST", "/v3/s3tokens", s3_token, "identity:s3tokens_validate", request=_Signed),
)
