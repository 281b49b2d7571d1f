"""Passcodes of a user's TOTP seeds, each good once. Source: RFC 6238; Identity API v3, method ``totp``.

Seeds are credentials of type ``totp``: base32, six digits, SHA-1, 30 seconds. Guesses are slowed down: what
was proven before decides which brake counts them, so that a stranger's guesses do not lock the user out.
"""

import base64
import binascii
import hmac
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from gateway.identity.throttle import WhoLogsIn
from gateway.request import Request
from store import identity, spent
from store.identity import Credential
from store.pool import Connection

TYPE: Final = "totp"
PERIOD_S: Final = 30
DIGITS: Final = 6
WINDOWS: Final = (0, -1, 1)
"""Periods before and after the present one whose passcodes are accepted: clocks differ."""
SEEDS_MAX: Final = 10
"""Of one user's seeds, so many are tried."""
_KEPT_S: Final = PERIOD_S * 4  # longer than any window is open


def _passcode(seed: str, period: int) -> str:
    """The passcode of a period. Raises ValueError for a seed that is none."""
    plain = seed.strip().replace(" ", "")
    key = base64.b32decode(plain + "=" * (-len(plain) % 8), casefold=True)
    made = TOTP(key, DIGITS, SHA1(), PERIOD_S, enforce_key_length=False)  # noqa: S303  the RFC's default
    return made.generate(period * PERIOD_S).decode()


async def is_right(request: Request, user_id: str, passcode: str, *, is_second: bool) -> bool:
    """Whether this is a passcode of the user's that was not used before. Raises Problem 429."""
    services = request.services
    now = services.clock.now()
    who = WhoLogsIn(user_id, program=f"{TYPE}, {'second' if is_second else 'only'}")
    services.passcodes.count(who, request.peer, now)
    async with services.pool.acquire() as c:
        right = await _spend(request, c, user_id, passcode, now)
    if right:
        services.passcodes.take_back(who, request.peer, now)
    return right


async def _spend(request: Request, c: Connection, user_id: str, passcode: str, now: float) -> bool:
    seeds = await identity.find(c, Credential, {"user_id": user_id, "type": TYPE}, limit=SEEDS_MAX)
    for row in seeds:
        seed = request.services.vault.open(row.blob)
        for window in WINDOWS:
            period = int(now) // PERIOD_S + window
            try:
                expected = _passcode(seed, period)
            except (ValueError, binascii.Error):
                break
            if hmac.compare_digest(expected.encode(), passcode.encode()):
                return await spent.spend(c, f"{TYPE} {row.id} {period}", now + _KEPT_S)
    return False
