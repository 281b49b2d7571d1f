"""Who may do what: a table from rule name to a short sentence, compiled once at start.

A sentence is alternatives joined by ``or``, each of them conditions joined by ``and``:

    public              anybody, without a token; stands alone
    authenticated       any valid token
    nobody              never
    admin               the admin role, in whatever scope
    self                the target is the caller's own user
    role:<name>         the role (any name, also one an operator has made), in whatever scope
    project             a project-scoped token; the target's project must be the caller's
    domain              a domain-scoped token; the target's domain must be the caller's
    system              a system-scoped token
    project <role>      short for "project and role:<role>", for the four roles that are built in;
                        likewise "domain <role>" and "system <role>"

Roles imply each other: admin > manager > member > reader. Without a target a check answers whether
the caller could be allowed for *some* target; handlers check again once they know it.
Lifecycle preconditions do not belong here, nor does reading files (gateway/policy_file.py).
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Final

from msgspec import Struct

from gateway.auth import Caller

ROLES: Final = ("admin", "manager", "member", "reader")
SCOPES: Final = ("project", "domain", "system")

PUBLIC: Final = "public"
_ROLE: Final = "role:"


class PolicyError(ValueError):
    """A rule is not known or a sentence cannot be read; the text says which and what would be right."""


class Target(Struct, frozen=True, kw_only=True):
    """What is acted upon: whose it is. Empty: not known or not owned that way."""

    project_id: str = ""
    domain_id: str = ""
    user_id: str = ""


Check = Callable[[Caller, Target | None], bool]


class Condition(Struct, frozen=True):
    """One condition of a sentence: its words, its check, and what it asks for as a person reads it."""

    words: str
    holds: Check
    asks: str


class Alternative(Struct, frozen=True):
    """One alternative of a sentence; ``missing`` are the conditions that do not hold for a caller."""

    conditions: tuple[Condition, ...]
    missing: tuple[Condition, ...]


def _in_project(caller: Caller, target: Target | None) -> bool:
    return caller.scope == "project" and (target is None or target.project_id == caller.project_id)


def _in_domain(caller: Caller, target: Target | None) -> bool:
    return caller.scope == "domain" and (target is None or target.domain_id == caller.domain_id)


def _in_system(caller: Caller, _: Target | None) -> bool:
    return caller.scope == "system"


def _always(_: Caller, __: Target | None) -> bool:
    return True


def _never(_: Caller, __: Target | None) -> bool:
    return False


def _admin(caller: Caller, _: Target | None) -> bool:
    return caller.is_admin


def _self(caller: Caller, target: Target | None) -> bool:
    return target is None or target.user_id == caller.user_id


def _with_role(name: str) -> Condition:
    def has_role(caller: Caller, _: Target | None) -> bool:
        return name in caller.roles

    return Condition(_ROLE + name, has_role, f"the role {name}")


_CONDITIONS: Final[Mapping[str, Condition]] = {
    condition.words: condition
    for condition in (
        Condition(PUBLIC, _always, "nothing"),
        Condition("authenticated", _always, "a valid token"),
        Condition("nobody", _never, "what nobody has"),
        Condition("admin", _admin, "the role admin"),
        Condition("self", _self, "the caller's own user as the target"),
        Condition("project", _in_project, "a token for the target's project"),
        Condition("domain", _in_domain, "a token for the target's domain"),
        Condition("system", _in_system, "a token for the system"),
    )
}


def _read(words: str) -> tuple[Condition, ...]:
    """What one or two words ask for. Raises PolicyError."""
    if words in _CONDITIONS:
        return (_CONDITIONS[words],)
    if words.startswith(_ROLE) and len(words) > len(_ROLE) and " " not in words:
        return (_with_role(words.removeprefix(_ROLE)),)
    scope, _, role = words.partition(" ")
    if scope in SCOPES and role in ROLES:
        return _CONDITIONS[scope], _with_role(role)
    known = [*_CONDITIONS, *(f"{scope} {role}" for scope in SCOPES for role in ROLES), "role:NAME"]
    close = get_close_matches(words, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"it must be one of {', '.join(known)}"
    raise PolicyError(f"{words!r} is no condition; {hint}")


def parse(sentence: str) -> tuple[tuple[Condition, ...], ...]:
    """The alternatives of a sentence, each with its conditions. Raises PolicyError."""
    alternatives = tuple(
        tuple(condition for words in alternative.split(" and ") for condition in _read(words))
        for alternative in sentence.split(" or ")
    )
    if sentence != PUBLIC and any(one.words == PUBLIC for conditions in alternatives for one in conditions):
        raise PolicyError("'public' stands alone: nothing could be added to it or taken from it")
    return alternatives


def _all_of(conditions: tuple[Condition, ...]) -> Check:
    checks = tuple(condition.holds for condition in conditions)
    if len(checks) == 1:
        return checks[0]
    if len(checks) == 2:  # noqa: PLR2004  the usual pair, a scope and a role
        first, second = checks
        return lambda caller, target: first(caller, target) and second(caller, target)
    return lambda caller, target: all(check(caller, target) for check in checks)


def _compiled(sentence: str) -> Check:
    checks = tuple(_all_of(conditions) for conditions in parse(sentence))
    if len(checks) == 1:
        return checks[0]

    def check(caller: Caller, target: Target | None) -> bool:
        for alternative in checks:  # noqa: SIM110  a generator costs as much as the checks
            if alternative(caller, target):
                return True
        return False

    return check


class Policy:
    """The compiled table. ``overrides`` are an operator's sentences for existing names."""

    def __init__(self, rules: Mapping[str, str], overrides: Mapping[str, str] | None = None) -> None:
        """Raises PolicyError for a sentence it cannot read or an override that cannot be."""
        self.defaults: Mapping[str, str] = dict(rules)
        self.sentences: Mapping[str, str] = {}
        self._checks: Mapping[str, Check] = {}
        self.override(overrides or {})

    def override(self, overrides: Mapping[str, str]) -> None:
        """Put these in place of all overrides so far. Raises PolicyError, and then nothing has changed."""
        given = {name: " ".join(sentence.split()) for name, sentence in overrides.items()}
        for name, sentence in given.items():
            self._check_override(name, sentence)
        sentences = {**self.defaults, **given}
        checks = {}
        for name, sentence in sentences.items():
            try:
                checks[name] = _compiled(sentence)
            except PolicyError as error:
                raise PolicyError(f"policy rule {name!r}: {error}") from error
        self.sentences, self._checks = sentences, checks

    def _check_override(self, name: str, sentence: str) -> None:
        self.require(name)
        if sentence == PUBLIC != self.defaults[name]:
            raise PolicyError(f"policy rule {name!r} needs a token: it cannot be made public")

    def require(self, name: str) -> None:
        """Raise PolicyError, with what may be meant, unless there is a rule of this name."""
        if name not in self.defaults:
            close = get_close_matches(name, self.defaults, n=3, cutoff=0.8)
            hint = f"did you mean {' or '.join(close)}?" if close else "'starling policy show' lists them"
            raise PolicyError(f"there is no policy rule {name!r}; {hint}")

    def is_public(self, rule: str) -> bool:
        """Whether the rule needs no token."""
        return self.sentences[rule] == PUBLIC

    def allows(self, rule: str, caller: Caller, target: Target | None = None) -> bool:
        """Whether the rule lets this caller act upon the target (None: upon any target at all)."""
        return self._checks[rule](caller, target)

    def weighed(self, rule: str, caller: Caller, target: Target | None = None) -> list[Alternative]:
        """Each alternative with what it misses of this caller; the first that misses nothing decides."""
        return [
            Alternative(
                conditions,
                tuple(condition for condition in conditions if not condition.holds(caller, target)),
            )
            for conditions in parse(self.sentences[rule])
        ]
