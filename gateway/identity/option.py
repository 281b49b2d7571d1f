"""Options of users, projects, domains and roles: what may be set, and what it is stored as.

Source: Identity API v3, "resource options". What an option changes is the business of who reads it.
"""

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, structs

from gateway.problem import Problem

MFA_RULES_MAX = 32
MFA_METHODS_MAX = 8

Method = Annotated[str, Meta(min_length=1, max_length=64)]
MfaRule = Annotated[list[Method], Meta(min_length=1, max_length=MFA_METHODS_MAX)]
MfaRules = Annotated[list[MfaRule], Meta(max_length=MFA_RULES_MAX)]
Flag = bool | UnsetType | None
Options = TypeVar("Options", bound=Struct)


class ImmutableOption(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The options of projects, domains and roles. ``immutable``: no update or delete while it is set."""

    immutable: Flag = UNSET


class UserOptions(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The options of users; null unsets one."""

    ignore_change_password_upon_first_use: Flag = UNSET
    ignore_password_expiry: Flag = UNSET
    ignore_lockout_failure_attempts: Flag = UNSET
    lock_password: Flag = UNSET
    ignore_user_inactivity: Flag = UNSET
    multi_factor_auth_enabled: Flag = UNSET
    multi_factor_auth_rules: MfaRules | UnsetType | None = UNSET


def read(kind: type[Options], stored: str) -> Options:
    """The options a row has."""
    return msgspec.json.decode(stored, type=kind)


def shown(stored: str) -> dict[str, Any]:
    """The options as clients see them: those that are set."""
    return {} if stored == "{}" else msgspec.json.decode(stored, type=dict[str, Any])


def merged(stored: str, sent: Struct | UnsetType) -> str:
    """What is stored after an update: null removes an option, what is not sent stays."""
    if sent is UNSET or not isinstance(sent, Struct):
        return stored
    new = {name: value for name, value in structs.asdict(sent).items() if value is not UNSET}
    options = {name: value for name, value in {**shown(stored), **new}.items() if value is not None}
    return msgspec.json.encode(options).decode()


def is_immutable(stored: str) -> bool:
    """Whether a project, domain or role may not be changed."""
    return bool(shown(stored).get("immutable"))


def check_mutable(word: str, ident: str, stored: str, sent: Struct | None) -> None:
    """Refuse to change what is immutable, but let that option be taken away. Raises Problem 403.

    ``sent`` are the members of an update, None for a delete.
    """
    if not is_immutable(stored):
        return
    verb = "delete" if sent is None else "update"
    if sent is not None:
        given = {name: value for name, value in structs.asdict(sent).items() if value is not UNSET}
        options = given.pop("options", None)
        if not given and isinstance(options, ImmutableOption) and not options.immutable:
            return
    raise Problem(
        403,
        f"Unable to {verb} immutable {word} resource: `{ident}`. "
        'Set resource option "immutable" to false first.',
    )


def check_mfa_rules(rules: list[list[str]] | UnsetType | None) -> None:
    """Refuse rules that repeat themselves. Raises Problem 400."""
    if not isinstance(rules, list):
        return
    if any(len(set(rule)) < len(rule) for rule in rules) or any(
        rule in rules[:n] for n, rule in enumerate(rules)
    ):
        raise Problem(
            400, "Invalid request body: multi_factor_auth_rules must not repeat a rule or a method."
        )
