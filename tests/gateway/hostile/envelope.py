"""What an error must look like in each API, written down a second time: by what clients read of it.

Source: bodies recorded from keystone 30, nova 34, neutron 29 and glance 33; RFC 9457 for our own API.
"""

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from tests.gateway.hostile.wire import Answer

REQUEST_ID: Final = re.compile(r"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_REQUEST_ID_HEADERS: Final = {"compute": ("x-openstack-request-id", "x-compute-request-id")}
BODILESS: Final = frozenset({412})
"""A failed precondition of HTTP itself says nothing more."""
_TITLE: Final = re.compile(r"<title>(\d{3}) [A-Z][A-Za-z -]+</title>")


def wrong(api: str, answer: Answer) -> str:
    """What is wrong with an answer as one of this API; empty: nothing."""
    for header in _REQUEST_ID_HEADERS.get(api, ("x-openstack-request-id",)):
        if not REQUEST_ID.fullmatch(answer.headers.get(header, "")):
            return f"no {header}"
    if answer.status < 400:
        return _success(answer)
    if not answer.body:
        return "" if answer.status in BODILESS else "an error without a body"
    try:
        return FORMATS[api](answer)
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
        return f"not this API's error: {error!r}"


def _success(answer: Answer) -> str:
    if answer.body and answer.headers.get("content-type") == "application/json":
        try:
            msgspec.json.decode(answer.body)
        except msgspec.DecodeError:
            return "a success that is not JSON"
    return ""


def _json(answer: Answer, media_type: str = "application/json") -> Any:
    if answer.headers.get("content-type") != media_type:
        raise TypeError(f"Content-Type is {answer.headers.get('content-type')}")
    return answer.json


def _inner(found: Any, members: dict[str, type]) -> str:
    if not isinstance(found, dict):
        return "not an object"
    for name, kind in members.items():
        if not isinstance(found.get(name), kind):
            return f"member {name} is {found.get(name)!r}"
    return ""


def keystone(answer: Answer) -> str:
    """``{"error": {"code", "message", "title"}}``."""
    body = _json(answer)
    if set(body) != {"error"}:
        return f"members {sorted(body)}"
    fault = _inner(body["error"], {"code": int, "message": str, "title": str})
    return fault or ("" if body["error"]["code"] == answer.status else "another code than the status")


def nova(answer: Answer) -> str:
    """One member named after the fault."""
    if answer.status == 401:
        return keystone(answer)
    body = _json(answer)
    if len(body) != 1:
        return f"members {sorted(body)}"
    [(key, inner)] = body.items()
    if not re.fullmatch(r"[a-z]+[A-Za-z]*", key):
        return f"key {key!r}"
    fault = _inner(inner, {"code": int, "message": str})
    return fault or ("" if inner["code"] == answer.status else "another code than the status")


def neutron(answer: Answer) -> str:
    """``{"NeutronError": {"type", "message", "detail"}}``."""
    if answer.status == 401:
        return keystone(answer)
    body = _json(answer)
    if set(body) != {"NeutronError"}:
        return f"members {sorted(body)}"
    return _inner(body["NeutronError"], {"type": str, "message": str, "detail": str})


def glance(answer: Answer) -> str:
    """HTML with a title."""
    if answer.headers.get("content-type") != "text/html; charset=UTF-8":
        return f"Content-Type is {answer.headers.get('content-type')}"
    title = _TITLE.search(answer.text)
    if title is None or int(title[1]) != answer.status:
        return "no title with the status"
    return "" if "<script" not in answer.text else "a client's text came back as markup"


def starling(answer: Answer) -> str:
    """Problem details."""
    body = _json(answer, "application/problem+json")
    members = {"type": str, "title": str, "status": int, "detail": str, "request_id": str}
    return _inner(body, members) or ("" if body["status"] == answer.status else "another status")


FORMATS: Final[dict[str, Callable[[Answer], str]]] = {
    "identity": keystone,
    "compute": nova,
    "image": glance,
    "network": neutron,
    "starling": starling,
}
"""By the API's name. A new API is added here when it is added to gateway/apis.py."""
