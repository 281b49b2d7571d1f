"""Policies as blobs: kept for services that fetch theirs here. Starling's own rules are gateway/policy.py.

Source: Identity API v3, "Policies" and OS-ENDPOINT-POLICY.
"""

from typing import Annotated, Any, ClassVar, Final

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from gateway.identity.catalog import ENDPOINTS
from gateway.identity.collection import Collection, Draft, Name, given, listing, new_id, not_found
from gateway.problem import Problem
from gateway.request import Request, Response
from gateway.route import Route
from store import identity, policy_blob
from store.identity import Endpoint, Region, Service
from store.policy_blob import Place, PolicyBlob
from store.pool import Connection

BLOB_LENGTH_MAX: Final = 262_144

Blob = Annotated[str, Meta(max_length=BLOB_LENGTH_MAX)]


class NewPolicy(Struct, forbid_unknown_fields=True):
    """Members of a policy to create."""

    type: Name
    blob: Blob


class ChangedPolicy(Struct, forbid_unknown_fields=True):
    """Members of a policy to change."""

    type: Name | UnsetType = UNSET
    blob: Blob | UnsetType = UNSET


class Policies(Collection[PolicyBlob]):
    """The collection at /v3/policies."""

    kind = PolicyBlob
    singular, plural = "policy", "policies"
    create_members, update_members = NewPolicy, ChangedPolicy
    filters: ClassVar = {"type": str}
    takes_extra = True

    def shape(self, row: PolicyBlob) -> dict[str, Any]:
        return {"id": row.id, "type": row.type, "blob": row.blob}

    async def build(self, draft: Draft) -> PolicyBlob:
        members: NewPolicy = draft.members
        return PolicyBlob(id=new_id(draft.request), type=members.type, blob=members.blob, extra=draft.extra)

    async def change(self, row: PolicyBlob, draft: Draft) -> PolicyBlob:
        return structs.replace(row, extra=draft.extra, **given(draft.members))


POLICIES: Final = Policies()


# --- what a policy is associated with ------------------------------------------------------------


async def _parts(request: Request, c: Connection) -> tuple[str, Place]:
    """The policy and the place of the path, which exist. Raises Problem 404."""
    policy = await POLICIES.found(request, c)
    params = request.params
    for word, kind in (("endpoint", Endpoint), ("service", Service), ("region", Region)):
        ident = params.get(f"{word}_id")
        if ident is not None and await identity.get(c, kind, ident) is None:
            raise not_found(word, ident)
    place = Place(
        endpoint_id=params.get("endpoint_id"),
        service_id=params.get("service_id"),
        region_id=params.get("region_id"),
    )
    return policy.id, place


async def associate(request: Request) -> Response:
    """Let the policy be the place's."""
    async with request.services.pool.acquire() as c, c.transaction():
        policy_id, place = await _parts(request, c)
        await policy_blob.associate(c, policy_id, place)
    return Response()


async def check(request: Request) -> Response:
    """204 when the policy is the place's, else 404."""
    async with request.services.read_pool.acquire() as c:
        policy_id, place = await _parts(request, c)
        if not await policy_blob.is_associated(c, policy_id, place):
            raise not_found("policy association", policy_id)
    return Response()


async def dissociate(request: Request) -> Response:
    """Take the policy from the place."""
    async with request.services.pool.acquire() as c, c.transaction():
        policy_id, place = await _parts(request, c)
        if not await policy_blob.dissociate(c, policy_id, place):
            raise not_found("policy association", policy_id)
    return Response()


async def show_policy_of_endpoint(request: Request) -> Response:
    """The policy that counts for an endpoint."""
    endpoint_id = request.params["endpoint_id"]
    async with request.services.read_pool.acquire() as c:
        if await identity.get(c, Endpoint, endpoint_id) is None:
            raise not_found("endpoint", endpoint_id)
        policy_id = await policy_blob.policy_for(c, endpoint_id)
        row = await identity.get(c, PolicyBlob, policy_id) if policy_id is not None else None
    if row is None:
        raise Problem(404, f"No policy is associated with endpoint {endpoint_id}.")
    return Response({"policy": POLICIES.body_of(request, row)})


async def list_endpoints_of_policy(request: Request) -> Response:
    """The endpoints a policy counts for."""
    async with request.services.read_pool.acquire() as c:
        policy = await POLICIES.found(request, c)
        rows = [
            row
            for row in await policy_blob.candidates(c, policy.id)
            if await policy_blob.policy_for(c, row.id) == policy.id
        ]
    return listing(request, "endpoints", [ENDPOINTS.body_of(request, row) for row in rows])


_BASE: Final = "/v3/policies/{id}/OS-ENDPOINT-POLICY"
_PLACES: Final = {
    "endpoint": f"{_BASE}/endpoints/{{endpoint_id}}",
    "service": f"{_BASE}/services/{{service_id}}",
    "region_and_service": f"{_BASE}/services/{{service_id}}/regions/{{region_id}}",
}

ROUTES: Final = (
    *POLICIES.routes(),
    *(
        route
        for word, path in _PLACES.items()
        for route in (
            Route("PUT", path, associate, f"identity:create_policy_association_for_{word}", 204),
            Route("GET", path, check, f"identity:check_policy_association_for_{word}", 204),
            Route("HEAD", path, check, f"identity:check_policy_association_for_{word}", 204),
            Route("DELETE", path, dissociate, f"identity:delete_policy_association_for_{word}", 204),
        )
    ),
    Route("GET", f"{_BASE}/endpoints", list_endpoints_of_policy, "identity:list_endpoints_for_policy"),
    Route(
        "GET",
        "/v3/endpoints/{endpoint_id}/OS-ENDPOINT-POLICY/policy",
        show_policy_of_endpoint,
        "identity:get_policy_for_endpoint",
    ),
)
