"""Proving a password: how often it may be tried, and the same answer and effort whatever was wrong.

Three brakes. The throttle bounds failures per user and per address, in this process, for all. A lockout, if
the operator asks for one, counts failures of an account in the database: exactly, over all gateways. Hashing
runs in few threads (``password.py``). Login and the change of a password both go through ``proven``.
"""

from gateway.auth import unauthorized
from gateway.identity.password_rules import ACTIVE_STEP_S
from gateway.identity.throttle import WhoLogsIn
from gateway.problem import Problem
from gateway.request import Request
from store import password
from store.password import Login


async def proven(request: Request, who: WhoLogsIn, secret: str, *, expired_too: bool = False) -> Login:
    """The user who has this password. Raises Problem 401, the same for every reason, or 429.

    An expired password is told apart once it was given rightly; ``expired_too`` accepts it.
    """
    services = request.services
    throttle, rules = services.throttle, services.settings.password_rules
    address = request.peer
    throttle.count(who, address, services.clock.now())
    async with services.pool.acquire() as c:
        if who.id is not None:
            login = await password.login_by_id(c, who.id)
        else:
            login = await password.login_by_name(c, who.name or "", who.domain_id, who.domain_name)
    if rules.counts_failures(login):
        async with services.turns.turn(login.user_id if login is not None else who):
            right = await _right_in_turn(request, login, secret)
    else:
        right = await services.passwords.verify(login.hash if login is not None else None, secret)
    if not right or login is None:
        raise unauthorized(request.base_url)
    now = services.clock.now()
    throttle.take_back(who, address, now)
    if not login.enabled or rules.is_inactive(login.options, login.active_at, now):
        raise unauthorized(request.base_url)
    if rules.is_expired(login, now) and not expired_too:
        what = f"The password is expired and needs to be changed for user: {login.user_id}."
        raise Problem(401, what, headers=unauthorized(request.base_url).headers)
    if rules.inactive_days_max and (login.active_at or 0.0) + ACTIVE_STEP_S < now:
        async with services.pool.acquire() as c:
            await password.seen_active(c, login.user_id, now)
    return login


async def _right_in_turn(request: Request, login: Login | None, secret: str) -> bool:
    """Whether the password is right and the account not locked; counted before it is looked at."""
    services = request.services
    rules = services.settings.password_rules
    user_id = login.user_id if login is not None else ""
    async with services.pool.acquire() as c:
        may = await password.begin_attempt(
            c, user_id, rules.lockout_failures_max, rules.lockout_s, services.clock.now()
        )
    held = login.hash if login is not None and may else None
    right = await services.passwords.verify(held, secret)
    if right:
        async with services.pool.acquire() as c:
            await password.succeeded(c, user_id)
    return right
