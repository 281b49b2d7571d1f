"""What goes wrong in a request, and how an actor's refusal becomes an HTTP status.

Handlers raise ``Problem``; the API's envelope (gateway/envelope.py) gives it its shape. Nothing
here knows how an error looks on the wire, and no lifecycle text belongs here.
"""

from collections.abc import Mapping
from typing import Final

from protocol.errors import RefusalCode, Refused

MESSAGE_LENGTH_MAX: Final = 1024
"""What of a message is shown: it may repeat what a client sent, which may be long."""


class Problem(Exception):  # noqa: N818  it is an answer to a client, not a fault of ours
    """The request ends here, with this status. ``message`` is shown to the client.

    ``kind`` is the API's own class of error where clients tell classes apart (Neutron's ``type``,
    Nova's envelope key); empty: derived from the status. ``headers`` join the response.
    """

    def __init__(
        self, status: int, message: str, kind: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        if len(message) > MESSAGE_LENGTH_MAX:
            message = message[: MESSAGE_LENGTH_MAX - 1] + "…"
        if not message.isascii():  # a header's bytes that are no UTF-8 arrive as surrogates
            message = message.encode(errors="replace").decode()
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.headers: Mapping[str, str] = headers or {}


# Source: Compute API errors; "quota" is 403 in Nova, the others replace it through their Api row.
STATUS_BY_REFUSAL: Final[Mapping[RefusalCode, int]] = {
    "not_found": 404,
    "conflict": 409,
    "forbidden": 403,
    "invalid": 400,
    "quota": 403,
    "unsupported": 501,
    "late": 503,
    "internal": 500,
}


def refusal_as_problem(refused: Refused) -> Problem:
    """The default mapping of an actor's no."""
    return Problem(STATUS_BY_REFUSAL[refused.code], refused.reason)


def neutron_refusal(refused: Refused) -> Problem:
    """Neutron answers 409 ``OverQuota`` where others answer 403."""
    if refused.code == "quota":
        return Problem(409, refused.reason, kind="OverQuota")
    return refusal_as_problem(refused)


def glance_refusal(refused: Refused) -> Problem:
    """Glance answers 413 for an exceeded quota."""
    return Problem(413, refused.reason) if refused.code == "quota" else refusal_as_problem(refused)
