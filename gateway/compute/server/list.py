"""Lists of servers: which filters, sort keys and pages a caller and a microversion have.

Source: Compute API reference, "List Servers"; filter sets of nova 34.
"""
# ruff: noqa: PLR2004  the numbers are microversions

from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from gateway.compute.query import bad_marker, minor, next_link, page_of, period_in, pool, refuse_unknown
from gateway.compute.schema import is_uuid, truth, truth_in
from gateway.compute.server.state import states_of
from gateway.compute.server.view import shape
from gateway.pages import SortKey, sort_in
from gateway.problem import Problem
from gateway.request import Request, Response, forbidden
from store.server import (
    SERVER_EXACT,
    SERVER_PATTERNS,
    SERVER_SORT,
    BadPattern,
    ServerQuery,
    ServerRow,
    Sort,
    servers,
)

PATTERN_LENGTH_MAX: Final = 255
TAGS_MAX: Final = 50
_EMPTY: Final = b'{"servers": []}'

_ALIASES: Final = {
    "image_ref": "image",
    "display_name": "name",
    "display_description": "description",
    "instance_uuid": "uuid",
}
_TAG_FILTERS: Final = {
    "tags": "tags",
    "tags-any": "tags_any",
    "not-tags": "not_tags",
    "not-tags-any": "not_tags_any",
}
_EVERYBODY: Final = {
    "reservation_id": 1, "name": 1, "status": 1, "image": 1, "flavor": 1, "ip": 1, "changes-since": 1,
    "all_tenants": 1, "ip6": 5, "tags": 26, "tags-any": 26, "not-tags": 26, "not-tags-any": 26,
    "changes-before": 66, "locked": 73, "availability_zone": 83, "config_drive": 83, "key_name": 83,
    "created_at": 83, "launched_at": 83, "terminated_at": 83, "power_state": 83, "task_state": 83,
    "vm_state": 83, "progress": 83, "user_id": 83,
}  # fmt: skip
"""The filters of callers who are no admins, and since when; others are ignored."""
_JOINED: Final = frozenset(
    {"block_device_mapping", "services", "metadata", "system_metadata", "info_cache", "security_groups"}
    | {"pci_devices"}
)
_OTHERS: Final = frozenset(
    {"all_tenants", "changes-since", "deleted", "ip", "ip6", "limit", "locked_by", "marker", "project_id"}
    | {"soft_deleted", "sort_dir", "sort_key", "status", "tenant_id"}
)
_LATER: Final = {"changes-before": 66, "locked": 73, **dict.fromkeys(_TAG_FILTERS, 26)}
_IGNORED_SORT_KEYS: Final = frozenset(
    {"architecture", "cell_name", "cleaned", "default_ephemeral_device", "default_swap_device", "deleted"}
    | {"deleted_at", "disable_terminate", "ephemeral_gb", "ephemeral_key_uuid", "id", "key_data"}
    | {"launched_on", "locked", "memory_mb", "os_type", "reservation_id", "root_gb", "shutdown_terminate"}
    | {"user_data", "vcpus", "vm_mode"}
)
_NEWEST_FIRST: Final = SortKey("created_at", descending=True)


def _known(at: int) -> frozenset[str]:
    later = {name for name, first in _LATER.items() if at >= first}
    return frozenset({*SERVER_EXACT, *SERVER_PATTERNS, *_ALIASES, *_OTHERS, *_JOINED, *later})


def _filters(request: Request) -> dict[str, str]:
    """The filters in force: what the caller asked for and is let ask for. Raises Problem 400."""
    at = minor(request)
    refuse_unknown(request, _known(at))
    admin = request.caller.is_admin
    found: dict[str, str] = {}
    for name, value in request.query.items():
        plain = _ALIASES.get(name, name)
        if plain in _JOINED or plain.startswith("_"):
            if admin:
                raise Problem(400, f"Invalid filter field: {name[:64]}.")
            continue
        if at < (_LATER.get(plain, 1) if admin else _EVERYBODY.get(plain, 1 + at)):
            continue
        found[plain] = value
    return found


def _sort(request: Request) -> tuple[Sort, ...]:
    at = minor(request)
    ignored = _IGNORED_SORT_KEYS - ({"locked"} if at >= 73 else set())
    allowed = {*SERVER_SORT, *(() if at >= 75 else ignored)}
    if at < 73:
        allowed.add("locked")
    keys = sort_in(request.query, allowed, (_NEWEST_FIRST,))
    if not request.caller.is_admin and any(key.name in {"host", "node"} for key in keys):
        raise Problem(403, "Only administrators can sort servers by host or node")
    kept = [Sort(key.name, key.descending) for key in keys if key.name not in ignored]
    return tuple(kept) or (Sort("created_at", descending=True),)


def _everywhere(request: Request, filters: Mapping[str, str]) -> bool:
    """Whether servers of all projects are asked for. Raises Problem 400 or 403."""
    text = filters.get("all_tenants")
    wanted = text is not None and (not text or truth_in(text, "all_tenants"))
    rule = "compute:servers:list_all"
    if wanted and not request.allows(rule):
        raise forbidden(rule)
    return wanted


def _gone(request: Request, filters: Mapping[str, str], vm_states: list[str]) -> bool | None:
    if "deleted" in filters:
        return truth(filters["deleted"])
    if vm_states == ["deleted"]:
        if not request.caller.is_admin:
            raise Problem(403, "Only administrators may list deleted instances")
        return True
    return None if {"changes-since", "changes-before"} & filters.keys() else False


def _pattern(text: str, name: str) -> str:
    if len(text) > PATTERN_LENGTH_MAX or text.startswith("***"):
        raise Problem(400, f"Invalid filter field: {name}.")
    return text


def _tags(text: str, name: str) -> list[str]:
    tags = [tag for tag in text.split(",") if tag]
    if len(tags) > TAGS_MAX:
        raise Problem(400, f"There are more than {TAGS_MAX} tags in {name}.")
    return tags


def _exact(filters: Mapping[str, str]) -> dict[str, list[str]]:
    found = {name: [value] for name, value in filters.items() if name in SERVER_EXACT}
    if "config_drive" in found:
        found["config_drive"] = ["true" if truth_in(filters["config_drive"], "config_drive") else "false"]
    return found


def _query(request: Request) -> ServerQuery | None:
    """What to ask the store; None when no server can fit. Raises Problem 400 or 403."""
    filters = _filters(request)
    exact = _exact(filters)
    tasks: list[str] = []
    if "status" in filters:
        states = states_of(request.query.getall("status"))
        if states is None:
            if minor(request) >= 38:
                raise Problem(400, "Invalid status value")
            return None
        exact["vm_state"], tasks = states
    since, before = (
        period_in(request) if {"changes-since", "changes-before"} & filters.keys() else (None, None)
    )
    everywhere = _everywhere(request, filters)
    project: str | None = request.caller.project_id
    if everywhere:
        project = filters.get("tenant_id") or filters.get("project_id")
    limit, marker = page_of(request)
    tags: dict[str, Any] = {
        member: _tags(filters[name], name) for name, member in _TAG_FILTERS.items() if name in filters
    }
    return ServerQuery(
        project=project,
        gone=_gone(request, filters, exact.get("vm_state", [])),
        soft_deleted="soft_deleted" in filters and truth(filters["soft_deleted"]),
        exact=exact,
        patterns={name: _pattern(text, name) for name, text in filters.items() if name in SERVER_PATTERNS},
        ip=_pattern(filters["ip"], "ip") if "ip" in filters else None,
        ip6=_pattern(filters["ip6"], "ip6") if "ip6" in filters else None,
        changed_since=since,
        changed_before=before,
        locked=truth_in(filters["locked"], "locked") if "locked" in filters else None,
        task_states=tasks,
        sort=_sort(request),
        marker=marker,
        limit=limit,
        **tags,
    )


async def _page(request: Request, *, hosts: bool) -> tuple[list[ServerRow], str]:
    """The rows of the page and the link to what follows, or an empty string. Raises Problem 400 or 403."""
    query = _query(request)
    if query is None or query.limit == 0:
        return [], ""
    if query.marker and not is_uuid(query.marker):
        raise bad_marker(query.marker)
    try:
        async with pool(request).acquire() as connection:
            rows = await servers(connection, replace(query, limit=query.limit + 1, hosts=hosts))
    except BadPattern as error:
        raise Problem(400, "Invalid filter: a regular expression is malformed or too costly.") from error
    if rows is None:
        raise bad_marker(query.marker)
    if len(rows) <= query.limit:
        return rows, ""
    rows = rows[: query.limit]
    return rows, next_link(request, rows[-1].id)[0]["href"]


async def list_servers(request: Request) -> Response:
    """``GET /servers``: names and links."""
    rows, following = await _page(request, hosts=False)
    api_url = request.api_url
    found: dict[str, Any] = {"servers": [_brief(row, api_url) for row in rows]}
    if following:
        found["servers_links"] = [{"rel": "next", "href": following}]
    return Response(found)


def _brief(row: ServerRow, api_url: str) -> dict[str, Any]:
    return {"id": row.id, "name": row.name, "links": links_of(row.id, api_url)}


def links_of(server_id: str, api_url: str) -> list[dict[str, str]]:
    """A server's links."""
    return [
        {"rel": "self", "href": f"{api_url}/v2.1/servers/{server_id}"},
        {"rel": "bookmark", "href": f"{api_url}/servers/{server_id}"},
    ]


async def list_servers_detail(request: Request) -> Response:
    """``GET /servers/detail``: the rows' own views, cut to this caller and microversion."""
    admin, at = request.caller.is_admin, minor(request)
    rows, following = await _page(request, hosts=admin and at >= 16)
    if not rows:
        return Response(_EMPTY)
    return Response(shape(at, "list", admin=admin).many(rows, request.base_url, following))
