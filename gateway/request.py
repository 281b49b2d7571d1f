"""What a handler gets and what it gives back: Request and Response, free of aiohttp where possible."""

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web
from multidict import CIMultiDict, MultiMapping

from gateway.auth import Caller
from gateway.envelope import Envelope, own
from gateway.policy import Target
from gateway.problem import Problem
from gateway.services import Services
from protocol import command
from protocol.errors import Refused
from protocol.ids import OperationId, keyed_operation
from protocol.message import Message

if TYPE_CHECKING:
    from gateway.route import Api, Route

IDEMPOTENCY_HEADER = "Idempotency-Key"
IDEMPOTENCY_KEY_LENGTH_MAX = 255
_REQUEST_ID_LENGTH = 40  # req- and a UUID
_HEX_AND_DASHES = frozenset("0123456789abcdefABCDEF-")
_PEER_LENGTH_MAX = 64  # an IPv6 address has 45 characters, some proxies add a port
_ADDRESS = frozenset("0123456789abcdefABCDEF:.[]")
_TRACE_LENGTH = 55  # a version, a trace's id, a parent's id, flags. Source: W3C Trace Context


class Response:
    """What to answer. ``status`` 0 means the route's success code.

    ``body``: bytes are sent as they are (pre-rendered JSON unless ``content_type`` says otherwise);
    an async iterator of bytes is streamed; anything else is encoded as JSON; None is no body.
    """

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(
        self,
        body: Any = None,
        *,
        status: int = 0,
        headers: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> None:
        self.body: bytes | AsyncIterator[bytes] | Any | None = body
        self.status = status
        self.headers = headers
        self.content_type = content_type


class Request:
    """One request after its token, version, policy, query and body have been checked.

    ``body`` is the decoded Struct of the route (None without one, a BodyStream for uploads);
    ``query`` the route's query Struct or, without one, the multi-dict; ``base_url`` the origin the
    client sees (no final slash); ``path`` the raw path on it; ``request_id`` is ours.
    ``raw`` is for what the others cannot do (WebSockets).
    ``service`` is whose call it is, as logs name it.
    ``answer_headers`` go out with whatever is answered; ``envelope``, ``template`` and ``streaming``
    are the chain's notes on how to answer a failure.
    """

    __slots__ = (
        "_caller",
        "answer_headers",
        "api",
        "base_url",
        "body",
        "envelope",
        "headers",
        "params",
        "path",
        "query",
        "raw",
        "request_id",
        "route",
        "service",
        "services",
        "streaming",
        "template",
        "version",
    )

    def __init__(self, raw: web.Request, services: Services, request_id: str) -> None:
        self.raw = raw
        self.services = services
        self.request_id = request_id
        self.headers: MultiMapping[str] = raw.headers
        self.path = raw.rel_url.raw_path
        self.base_url = ""
        self.service = "gateway"
        self.template = ""
        self.envelope: Envelope = own
        self.answer_headers: dict[str, str] = {"x-openstack-request-id": request_id}
        self.streaming: web.StreamResponse | None = None
        self.params: dict[str, str] = {}
        self.query: Any = None
        self.body: Any = None
        self.version = (0, 0)
        self.api: Api
        self.route: Route
        self._caller: Caller | None = None

    @property
    def caller(self) -> Caller:
        """Who asks. On a public route nobody does: RuntimeError."""
        if self._caller is None:
            msg = f"{self.route.method} {self.route.path} is public: it has no caller"
            raise RuntimeError(msg)
        return self._caller

    @property
    def caller_if_any(self) -> Caller | None:
        """Who asks, None on a public route or before the token was checked."""
        return self._caller

    def identify(self, caller: Caller) -> None:
        """Bind the caller; done once, by the chain."""
        self._caller = caller

    @property
    def peer(self) -> str:
        """The address the request comes from: as our proxy saw it, or our own view when there is none."""
        if self.services.settings.trust_forwarded:
            nearest = self.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
            if 0 < len(nearest) <= _PEER_LENGTH_MAX and _ADDRESS.issuperset(nearest):
                return nearest
        return self.raw.remote or ""

    @property
    def global_id(self) -> str:
        """The client's own id of a chain of requests, when it has the form ``req-<uuid>``."""
        text = self.headers.get("X-OpenStack-Request-ID", "")
        if len(text) != _REQUEST_ID_LENGTH or not text.startswith("req-"):
            return ""
        return text if _HEX_AND_DASHES.issuperset(text[4:]) else ""

    @property
    def trace(self) -> str:
        """The client's ``traceparent``, when it has the form of one: it travels with every command."""
        text = self.headers.get("traceparent", "")
        return text if len(text) == _TRACE_LENGTH and _HEX_AND_DASHES.issuperset(text) else ""

    @property
    def api_url(self) -> str:
        """The origin plus the API's prefix: what its links are built on."""
        return self.base_url + self.api.prefix

    def allows(self, rule: str, target: Target | None = None) -> bool:
        """Whether policy lets the caller do this; for answers that show more to some."""
        return self.services.policy.allows(rule, self.caller, target)

    def authorize(self, target: Target, rule: str = "") -> None:
        """Check the route's rule (or another) against what the path led to. Raises Problem 403."""
        name = rule or self.route.policy
        if not self.services.policy.allows(name, self.caller, target):
            raise forbidden(name)

    async def stream(
        self, status: int, headers: Mapping[str, str] | None = None, content_type: str = ""
    ) -> web.StreamResponse:
        """Begin a streamed answer (downloads, SSE) with the usual headers; write to what is returned.

        From here on a failure cannot become an error answer: the chain cuts the connection instead.
        """
        joined = CIMultiDict(self.answer_headers)
        joined.update(headers or {})
        if content_type:
            joined["Content-Type"] = content_type
        response = web.StreamResponse(status=status, headers=joined)
        self.streaming = response
        await response.prepare(self.raw)
        return response

    def said_by(self) -> command.Caller:
        """The caller as commands carry it."""
        caller = self.caller
        return command.Caller(
            user=caller.user_id, project=caller.project_id, request=self.request_id, admin=caller.is_admin
        )

    def operation(self) -> OperationId:
        """The operation this request begins: fresh, or on a keyed route the one its Idempotency-Key means.

        Raises Problem 400 for a key that is empty, overlong or not of printable ASCII characters.
        """
        key = self.headers.get(IDEMPOTENCY_HEADER) if self.route.keyed else None
        if key is None:
            return OperationId(self.services.clock.uuid())
        if not (0 < len(key) <= IDEMPOTENCY_KEY_LENGTH_MAX and key.isascii() and key.isprintable()):
            raise Problem(
                400,
                f"{IDEMPOTENCY_HEADER} must have 1 to {IDEMPOTENCY_KEY_LENGTH_MAX} printable characters.",
            )
        caller = self.caller
        return keyed_operation(caller.project_id, caller.user_id, self.route.method, self.path, key)

    async def command(self, to: str, message: Message, operation: str = "") -> Message:
        """Send a command and wait for the actor's word.

        Raises the API's Problem when it is refused, Unavailable when no answer comes in time.
        """
        services = self.services
        answer = await services.commands.send(
            to,
            message,
            operation=operation or self.operation(),
            timeout_s=services.settings.command_timeout_s,
            trace=self.trace,
        )
        if isinstance(answer, Refused):
            raise self.api.refusal(answer)
        return answer


def forbidden(rule: str) -> Problem:
    """403 that names the rule, so that an operator can find it."""
    return Problem(403, f"Policy doesn't allow {rule} to be performed.")
