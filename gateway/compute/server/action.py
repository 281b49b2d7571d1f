"""POST /servers/{id}/action: which action, who may, in which microversions, and what it says to the instance.

An action is a row of ACTIONS. Those the API has and this cloud does not do yet are named in NOT_YET: they
answer 501, so that a client can tell them from a mistake of its own, which is 400.

Source: Compute API reference, "Servers - run an action".
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct

from gateway.body import decoded
from gateway.compute.query import minor
from gateway.compute.schema import NEWEST, OLDEST, check
from gateway.compute.server.argument import (
    ConsoleArgument,
    LockArgument,
    RebootArgument,
    RescueArgument,
    ResetArgument,
)
from gateway.compute.server.begin import begin
from gateway.compute.server.console import console_output
from gateway.compute.server.find import server_of
from gateway.compute.server.rescue import rescue
from gateway.problem import Problem
from gateway.request import Request, Response
from protocol.command import Command
from protocol.instance import (
    DeleteInstance,
    HardRebootInstance,
    LockInstance,
    PauseInstance,
    RebootInstance,
    ResetInstance,
    RestoreInstance,
    ResumeInstance,
    StartInstance,
    StopInstance,
    SuspendInstance,
    UnlockInstance,
    UnpauseInstance,
    UnrescueInstance,
)
from store.server import ServerRow

_MEMBER: Final = "compute:servers:act"
_ADMIN: Final = "compute:servers:administer"
_READER: Final = "compute:servers:show"


class Action(Struct, frozen=True, kw_only=True):
    """One action. ``argument`` None: whatever is sent with it is not looked at, as ever."""

    argument: Any = None
    says: Callable[[Request, Any], Command] | None = None
    answers: Callable[[Request, ServerRow, Any], Awaitable[Response]] | None = None
    rule: str = _MEMBER
    since: int = OLDEST
    until: int = NEWEST
    status: int = 202


def _plain(kind: type[Command]) -> Action:
    return Action(says=lambda request, _: kind(by=request.said_by()))


def _reboot(request: Request, argument: RebootArgument) -> Command:
    kind = HardRebootInstance if argument.type.upper() == "HARD" else RebootInstance
    return kind(by=request.said_by())


def _reset(request: Request, argument: ResetArgument) -> Command:
    return ResetInstance(by=request.said_by(), state=argument.state)


def _lock(request: Request, argument: LockArgument | None) -> Command:
    reason = None if argument is None or argument.locked_reason is UNSET else argument.locked_reason
    return LockInstance(by=request.said_by(), reason=reason)


ACTIONS: Final[dict[str, Action]] = {
    "os-start": _plain(StartInstance),
    "os-stop": _plain(StopInstance),
    "reboot": Action(argument=RebootArgument, says=_reboot),
    "pause": _plain(PauseInstance),
    "unpause": _plain(UnpauseInstance),
    "suspend": _plain(SuspendInstance),
    "resume": _plain(ResumeInstance),
    "rescue": Action(argument=RescueArgument | None, answers=rescue, status=200),
    "unrescue": _plain(UnrescueInstance),
    "restore": _plain(RestoreInstance),
    "os-resetState": Action(argument=ResetArgument, says=_reset, rule=_ADMIN),
    "lock": Action(argument=LockArgument | None, says=_lock),
    "unlock": _plain(UnlockInstance),
    "forceDelete": _plain(DeleteInstance),
    "os-getConsoleOutput": Action(argument=ConsoleArgument, answers=console_output, rule=_READER, status=200),
}

NOT_YET: Final[dict[str, tuple[int, int]]] = {
    "addFixedIp": (OLDEST, 43),
    "addFloatingIp": (OLDEST, 43),
    "addSecurityGroup": (OLDEST, NEWEST),
    "changePassword": (OLDEST, NEWEST),
    "confirmResize": (OLDEST, NEWEST),
    "createBackup": (OLDEST, NEWEST),
    "createImage": (OLDEST, NEWEST),
    "evacuate": (OLDEST, NEWEST),
    "injectNetworkInfo": (OLDEST, NEWEST),
    "migrate": (OLDEST, NEWEST),
    "os-getRDPConsole": (OLDEST, 5),
    "os-getSPICEConsole": (OLDEST, 5),
    "os-getSerialConsole": (OLDEST, 5),
    "os-getVNCConsole": (OLDEST, 5),
    "os-migrateLive": (OLDEST, NEWEST),
    "rebuild": (OLDEST, NEWEST),
    "removeFixedIp": (OLDEST, 43),
    "removeFloatingIp": (OLDEST, 43),
    "removeSecurityGroup": (OLDEST, NEWEST),
    "resetNetwork": (OLDEST, NEWEST),
    "resize": (OLDEST, NEWEST),
    "revertResize": (OLDEST, NEWEST),
    "shelve": (OLDEST, NEWEST),
    "shelveOffload": (OLDEST, NEWEST),
    "trigger_crash_dump": (17, NEWEST),
    "unshelve": (OLDEST, NEWEST),
}
"""Actions of the API that this cloud does not do yet, and the minor versions that have them."""


def _chosen(body: dict[str, msgspec.Raw], at: int) -> tuple[str, Action | None]:
    """The action's name and row; None for one of NOT_YET. Raises Problem 400 or 404."""
    if len(body) != 1:
        raise Problem(400, "The request body must have exactly one member: the name of the action.")
    name = next(iter(body))
    action = ACTIONS.get(name)
    if action is None and name not in NOT_YET:
        raise Problem(400, f"There is no such action: {name[:64]}")
    first, last = (action.since, action.until) if action else NOT_YET[name]
    if not first <= at <= last:
        raise Problem(404, "The resource could not be found.")
    return name, action


def _argument(action: Action, raw: msgspec.Raw, at: int) -> Any:
    if action.argument is None:
        return None
    argument = decoded(action.argument, raw)
    if isinstance(argument, Struct):
        check(argument, at)
    return argument


async def act(request: Request) -> Response:
    """Run an action: 202 once it has begun, unless its row says otherwise."""
    body: dict[str, msgspec.Raw] = request.body
    at = minor(request)
    name, action = _chosen(body, at)
    argument = None if action is None else _argument(action, body[name], at)
    row = await server_of(request, rule=_MEMBER if action is None else action.rule)
    if action is None:
        raise Problem(501, f"The action {name} is not implemented by this cloud yet.")
    if action.answers is not None:
        return await action.answers(request, row, argument)
    if action.says is not None:
        await begin(request, row, action.says(request, argument))
    return Response(status=action.status)
