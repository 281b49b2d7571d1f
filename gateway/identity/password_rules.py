"""The operator's rules for passwords and accounts, and what follows from them for one user.

Pure: rows and the time go in, refusals and dates come out. Source: Keystone's ``security_compliance``
options; what they mean is theirs, the names are ours.
"""

import re
from functools import cache
from typing import Final

from msgspec import UNSET, Struct

from gateway.identity import option
from gateway.identity.option import UserOptions
from gateway.problem import Problem
from store.password import Login

DAY_S: Final = 86_400.0
ACTIVE_STEP_S: Final = 3600.0  # how exactly the last login is remembered


class PasswordRules(Struct, frozen=True, kw_only=True):
    """What an operator asks of passwords; zero and the empty text switch a rule off."""

    regex: str = ""
    regex_description: str = ""
    expires_days: int = 0
    age_min_days: int = 0
    unique_last: int = 0
    """How many of the last passwords, the present one among them, a new one must differ from."""
    change_upon_first_use: bool = False
    lockout_failures_max: int = 0
    lockout_s: float = 1800.0
    """0: until an administrator enables the user again."""
    inactive_days_max: int = 0

    def check(self, password: str) -> None:
        """Refuse a password that is not of the form asked for. Raises Problem 400."""
        if self.regex and not _compiled(self.regex).match(password):
            what = self.regex_description or "ask your administrator"
            raise Problem(400, f"The password does not match the requirements: {what}.")

    def expires_at(self, options: UserOptions, now: float, *, by_admin: bool) -> float | None:
        """When a password set now expires; one an administrator set may have to be changed at once."""
        if (
            by_admin
            and self.change_upon_first_use
            and not _set(options.ignore_change_password_upon_first_use)
        ):
            return now
        if self.expires_days and not _set(options.ignore_password_expiry):
            return now + self.expires_days * DAY_S
        return None

    def is_expired(self, login: Login, now: float) -> bool:
        """Whether the password must be changed before anything else."""
        if login.password_expires_at is None or now < login.password_expires_at:
            return False
        return not _set(option.read(UserOptions, login.options).ignore_password_expiry)

    def is_inactive(self, stored_options: str, active_at: float | None, now: float) -> bool:
        """Whether nobody logged in for so long that the user counts as disabled."""
        if not self.inactive_days_max or active_at is None:
            return False
        if now < active_at + self.inactive_days_max * DAY_S:
            return False
        return not _set(option.read(UserOptions, stored_options).ignore_user_inactivity)

    def counts_failures(self, login: Login | None) -> bool:
        """Whether wrong passwords lock this account (or would, if there were one)."""
        if not self.lockout_failures_max:
            return False
        return login is None or not _set(
            option.read(UserOptions, login.options).ignore_lockout_failure_attempts
        )

    def check_change(self, login: Login, now: float) -> None:
        """Refuse a user's own change of the password. Raises Problem 400."""
        if _set(option.read(UserOptions, login.options).lock_password):
            raise Problem(
                400,
                "You cannot change your password at this time due to password policy disallowing password"
                " changes. Please contact your administrator to reset your password.",
            )
        may_at = login.changed_at + self.age_min_days * DAY_S
        if login.self_service and now < may_at:
            raise Problem(
                400,
                "You cannot change your password at this time due to the minimum password age. Once you"
                f" change your password, it must be used for {self.age_min_days} day(s) before it can be"
                f" changed. Please try again in {int((may_at - now) // DAY_S)} day(s) or contact your"
                " administrator to reset your password.",
            )

    def repeated(self) -> Problem:
        """The refusal of a password the user had before."""
        return Problem(
            400,
            "The new password cannot be identical to a previous password. The total number which includes"
            f" the new password must be unique is {self.unique_last}.",
        )


def _set(flag: option.Flag) -> bool:
    return flag is not UNSET and bool(flag)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
