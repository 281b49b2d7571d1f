"""The error bodies of each API. A renderer turns a Problem into (body, content type); nothing more.

Source: bodies recorded from keystone 30, nova 34, neutron 29 and glance 33.
"""

import html
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import msgspec

from gateway.problem import Problem

JSON: Final = "application/json"
HTML: Final = "text/html; charset=UTF-8"

Envelope = Callable[[Problem, str], tuple[bytes, str]]
"""(problem, request id) → (body, content type)."""

_NOVA_KEYS: Final = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}
_NEUTRON_TYPES: Final = {
    400: "HTTPBadRequest",
    403: "PolicyNotAuthorized",
    404: "HTTPNotFound",
    405: "HTTPMethodNotAllowed",
    409: "HTTPConflict",
    412: "RevisionNumberConstraintFailed",
    413: "HTTPRequestEntityTooLarge",
    415: "HTTPUnsupportedMediaType",
    500: "HTTPInternalServerError",
    501: "HTTPNotImplemented",
    503: "ServiceUnavailable",
}


def title_of(status: int) -> str:
    """The reason phrase of an HTTP status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def keystone(problem: Problem, _: str) -> tuple[bytes, str]:
    """``{"error": {"code", "message", "title"}}``."""
    error = {"code": problem.status, "message": problem.message, "title": title_of(problem.status)}
    return msgspec.json.encode({"error": error}), JSON


def nova(problem: Problem, request_id: str) -> tuple[bytes, str]:
    """``{"itemNotFound": {"code", "message"}}``; 401 comes from the token check in Keystone's shape."""
    if problem.status == HTTPStatus.UNAUTHORIZED:
        return keystone(problem, request_id)
    key = problem.kind or _NOVA_KEYS.get(problem.status, "computeFault")
    inner: dict[str, object] = {"code": problem.status, "message": problem.message}
    if "Retry-After" in problem.headers:
        inner["retryAfter"] = problem.headers["Retry-After"]
    return msgspec.json.encode({key: inner}), JSON


def neutron(problem: Problem, request_id: str) -> tuple[bytes, str]:
    """``{"NeutronError": {"type", "message", "detail"}}``; clients map ``type`` to exceptions."""
    if problem.status == HTTPStatus.UNAUTHORIZED:
        return keystone(problem, request_id)
    kind = problem.kind or _NEUTRON_TYPES.get(problem.status, "NeutronException")
    return msgspec.json.encode(
        {"NeutronError": {"type": kind, "message": problem.message, "detail": ""}}
    ), JSON


def glance(problem: Problem, _: str) -> tuple[bytes, str]:
    """HTML; clients strip the tags and show what is left."""
    title = f"{problem.status} {title_of(problem.status)}"
    body = (
        f"<html>\n <head>\n  <title>{title}</title>\n </head>\n <body>\n  <h1>{title}</h1>\n"
        f"  {html.escape(problem.message)}<br /><br />\n\n\n </body>\n</html>"
    )
    return body.encode(), HTML


def own(problem: Problem, request_id: str) -> tuple[bytes, str]:
    """Problem details of Starling's own API. Source: RFC 9457."""
    details = {
        "type": f"urn:starling:problem:{problem.kind}" if problem.kind else "about:blank",
        "title": title_of(problem.status),
        "status": problem.status,
        "detail": problem.message,
        "request_id": request_id,
    }
    return msgspec.json.encode(details), "application/problem+json"
