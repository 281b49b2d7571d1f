"""A token as clients read it. Source: Identity API v3, "Authentication and token management"."""

from datetime import UTC, datetime
from typing import Any

from msgspec import structs

from gateway.auth import Caller
from gateway.identity.catalog import catalog_of
from gateway.request import Request
from store.pool import Connection


def timestamp(seconds: float) -> str:
    """``2026-11-22T11:00:00.000000Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def expiry(seconds: float | None) -> str | None:
    """A password's end: without the final Z, null when there is none."""
    return None if seconds is None else timestamp(seconds).removesuffix("Z")


async def token_body(request: Request, c: Connection, caller: Caller) -> dict[str, Any]:
    """The body of an answer that shows a token: who, where, until when, and the catalog unless refused."""
    audit_ids = [caller.audit_id]
    if caller.audit_chain != caller.audit_id:
        audit_ids.append(caller.audit_chain)
    token: dict[str, Any] = {
        "methods": list(caller.methods),
        "user": {
            "id": caller.user_id,
            "name": caller.user_name,
            "domain": {"id": caller.user_domain_id, "name": caller.user_domain_name},
            "password_expires_at": expiry(caller.password_expires_at),
        },
        "audit_ids": audit_ids,
        "issued_at": timestamp(caller.issued_at),
        "expires_at": timestamp(caller.expires_at),
    }
    if caller.scope == "project":
        domain = {"id": caller.project_domain_id, "name": caller.project_domain_name}
        token["project"] = {"id": caller.project_id, "name": caller.project_name, "domain": domain}
        token["is_domain"] = False
    elif caller.scope == "domain":
        token["domain"] = {"id": caller.domain_id, "name": caller.domain_name}
    elif caller.scope == "system":
        token["system"] = {"all": True}
    lent, granted = caller.trust, caller.app_credential
    if lent is not None:
        token["OS-TRUST:trust"] = {
            "id": lent.id,
            "trustor_user": {"id": lent.trustor_user_id},
            "trustee_user": {"id": lent.trustee_user_id},
            "impersonation": lent.impersonation,
        }
    if granted is not None:
        shown = {"id": granted.id, "name": granted.name, "restricted": granted.restricted}
        rules = [structs.asdict(rule) for rule in granted.access_rules]
        token["application_credential"] = {**shown, "access_rules": rules} if rules else shown
    if caller.scope != "unscoped":
        token["roles"] = [{"id": ident, "name": name} for ident, name in caller.role_list]
        if "nocatalog" not in request.query:
            token["catalog"] = await catalog_of(request, c, caller.project_id)
    return {"token": token}
