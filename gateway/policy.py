"""Who may do what: a table from rule name to a short sentence, compiled once at start.

A sentence is alternatives joined by ``or``:

    public              anybody, without a token
    authenticated       any valid token
    admin               the admin role, in whatever scope
    project <role>      a project-scoped token with the role; the target's project must be the caller's
    domain <role>       a domain-scoped token with the role; the target's domain must be the caller's
    system <role>       a system-scoped token with the role
    self                the target is the caller's own user

Roles imply each other: admin > manager > member > reader. Without a target a check answers whether
the caller could be allowed for *some* target; handlers check again once they know it.
Lifecycle preconditions do not belong here.
"""

from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from gateway.auth import Caller

ROLES: Final = ("admin", "manager", "member", "reader")

PUBLIC: Final = "public"


class Target(Struct, frozen=True, kw_only=True):
    """What is acted upon: whose it is. Empty: not known or not owned that way."""

    project_id: str = ""
    domain_id: str = ""
    user_id: str = ""


Check = Callable[[Caller, Target | None], bool]


def _scoped(scope: str, role: str) -> Check:
    def in_project(caller: Caller, target: Target | None) -> bool:
        if caller.scope != "project" or role not in caller.roles:
            return False
        return target is None or target.project_id == caller.project_id

    def in_domain(caller: Caller, target: Target | None) -> bool:
        if caller.scope != "domain" or role not in caller.roles:
            return False
        return target is None or target.domain_id == caller.domain_id

    def in_system(caller: Caller, _: Target | None) -> bool:
        return caller.scope == "system" and role in caller.roles

    return {"project": in_project, "domain": in_domain, "system": in_system}[scope]


def _always(_: Caller, __: Target | None) -> bool:
    return True


def _admin(caller: Caller, _: Target | None) -> bool:
    return caller.is_admin


def _self(caller: Caller, target: Target | None) -> bool:
    return target is None or target.user_id == caller.user_id


_WORDS: Final[Mapping[str, Check]] = {
    PUBLIC: _always,
    "authenticated": _always,
    "admin": _admin,
    "self": _self,
    **{
        f"{scope} {role}": _scoped(scope, role) for scope in ("project", "domain", "system") for role in ROLES
    },
}


def _compiled(name: str, sentence: str) -> Check:
    words = [part.strip() for part in sentence.split(" or ")]
    unknown = [word for word in words if word not in _WORDS]
    if unknown:
        msg = f"policy rule {name!r}: {unknown[0]!r} is not one of {', '.join(sorted(_WORDS))}"
        raise ValueError(msg)
    checks = tuple(_WORDS[word] for word in words)
    if len(checks) == 1:
        return checks[0]

    def check(caller: Caller, target: Target | None) -> bool:
        return any(alternative(caller, target) for alternative in checks)

    return check


class Policy:
    """The compiled table. ``overrides`` are an operator's sentences for existing names."""

    def __init__(self, rules: Mapping[str, str], overrides: Mapping[str, str] | None = None) -> None:
        """Raises ValueError for a sentence it cannot read or an override of an unknown name."""
        overrides = overrides or {}
        unknown = sorted(overrides.keys() - rules.keys())
        if unknown:
            msg = f"policy override of unknown rule {unknown[0]!r}"
            raise ValueError(msg)
        self.sentences: dict[str, str] = {**rules, **overrides}
        self._checks = {name: _compiled(name, sentence) for name, sentence in self.sentences.items()}

    def is_public(self, rule: str) -> bool:
        """Whether the rule needs no token."""
        return self.sentences[rule] == PUBLIC

    def allows(self, rule: str, caller: Caller, target: Target | None = None) -> bool:
        """Whether the rule lets this caller act upon the target (None: upon any target at all)."""
        return self._checks[rule](caller, target)
