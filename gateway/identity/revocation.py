"""Which tokens were revoked lately, for services that check tokens by themselves.

Source: Identity API v3, OS-REVOKE. Gateways hear of it in another way: ``token.py``.
"""

from datetime import datetime
from typing import Any, Final

from gateway.identity.collection import listing
from gateway.identity.document import timestamp
from gateway.problem import Problem
from gateway.request import Request, Response
from store import identity
from store.identity import Notice

EVENTS_MAX: Final = 10_000
_MEMBERS: Final = {"token": "audit_id", "user": "user_id", "project": "project_id", "domain": "domain_id"}


def _shaped(notice: Notice) -> dict[str, Any]:
    at = timestamp(notice.made_at)
    return {_MEMBERS[notice.kind]: notice.subject, "issued_before": at, "revoked_at": at}


async def list_revocations(request: Request) -> Response:
    """Tokens revoked, and users, projects and domains whose older tokens may be; ``since`` narrows it."""
    since = 0.0
    text = request.query.get("since")
    if text is not None:
        try:
            since = datetime.fromisoformat(text).timestamp()
        except (ValueError, OverflowError) as error:
            raise Problem(400, "since must be a time such as 2026-01-31T00:00:00Z.") from error
    async with request.services.read_pool.acquire() as c:
        rows = await identity.notices(c, since, EVENTS_MAX + 1)
    events = [_shaped(row) for row in rows[:EVENTS_MAX] if row.kind in _MEMBERS]
    return listing(request, "events", events, truncated=len(rows) > EVENTS_MAX)
