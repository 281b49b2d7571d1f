"""``starling policy``: who may do what, shown and tried out without a running cloud."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, get_args

import msgspec
from msgspec import Struct

from gateway.apis import APIS
from gateway.auth import Caller, Scope
from gateway.policy import ROLES, Alternative, Policy, PolicyError, Target
from gateway.policy_file import apply_file
from gateway.route import Api, Router, rules_of

FORMATS: Final = ("table", "json", "markdown")
_IN_PROJECT: Final = "/v2.1/{project_id}"
_HEAD: Final = ("rule", "who may", "calls")


class Rule(Struct, frozen=True):
    """One rule as it holds: its sentence, the calls it decides (none: it is asked within other calls)."""

    api: str
    name: str
    sentence: str
    default: str
    calls: tuple[str, ...]


def effective(policy_file: str) -> Policy:
    """The policy that a gateway with this setting has. Raises PolicyError."""
    policy = Policy(rules_of(APIS))
    if policy_file:
        apply_file(policy, Path(policy_file))
    return policy


def rules(policy: Policy) -> list[Rule]:
    """All rules in the order of the tables."""
    return [
        Rule(api.name, name, policy.sentences[name], policy.defaults[name], calls)
        for api in APIS
        for name, calls in _calls(api).items()
    ]


def _calls(api: Api) -> dict[str, tuple[str, ...]]:
    """The calls by rule. Compute's second form, with the project in the path, is not repeated."""
    found: dict[str, dict[str, None]] = {name: {} for name in api.rules}
    for route in api.routes:
        if not (api.name == "compute" and route.path.startswith(_IN_PROJECT + "/")):
            found[route.policy][f"{route.method} {api.prefix}{route.path}"] = None
    return {name: tuple(calls) for name, calls in found.items()}


def shown(found: Sequence[Rule], form: str) -> str:
    """The rules as ``table``, ``json`` or ``markdown``."""
    if form == "json":
        return msgspec.json.format(msgspec.json.encode(found)).decode() + "\n"
    return _markdown(found) if form == "markdown" else _table(found)


def _table(found: Sequence[Rule]) -> str:
    rows = [_HEAD, *((rule.name, _said(rule), ", ".join(rule.calls) or "-") for rule in found)]
    first, second = (max(len(row[n]) for row in rows) for n in (0, 1))
    return "".join(f"{name:{first}}  {who:{second}}  {calls}\n" for name, who, calls in rows)


def _said(rule: Rule) -> str:
    return rule.sentence if rule.sentence == rule.default else f"{rule.sentence} (changed)"


def _markdown(found: Sequence[Rule]) -> str:
    lines: list[str] = []
    for api in APIS:
        lines += [f"\n## {api.name}\n", f"| {' | '.join(_HEAD)} |", f"|{'---|' * len(_HEAD)}"]
        for rule in found:
            if rule.api == api.name:
                calls = "<br>".join(f"`{call}`" for call in rule.calls) or "(asked within other calls)"
                lines.append(f"| `{rule.name}` | {_said(rule)} | {calls} |")
    return "\n".join(lines) + "\n"


def named(policy: Policy, word: str, path: str = "") -> list[str]:
    """The rules that are meant by a name, or by a method and a path. Raises PolicyError for neither."""
    if not path:
        policy.require(word)
        return [word]
    for api in APIS:
        if path == api.prefix or path.startswith(api.prefix + "/"):
            rows = (Router(api).find(path.partition("?")[0][len(api.prefix) :]) or ({}, []))[0]
            found = [row.route.policy for row in rows.get(word.upper(), ())]
            if found:
                return list(dict.fromkeys(found))
    raise PolicyError(f"there is no call {word.upper()} {path}; 'starling policy show' lists them")


def verdict(policy: Policy, rule: str, caller: Caller, target: Target | None) -> tuple[bool, str]:
    """Whether the caller may, and why: each alternative with what it asks for and what of it is missing."""
    if policy.is_public(rule):
        return True, f"{rule}: allowed: it is public"
    weighed = policy.weighed(rule, caller, target)
    good = next((alternative for alternative in weighed if not alternative.missing), None)
    lines = [f"{rule} = {policy.sentences[rule]!r}: {'allowed' if good else 'refused'}"]
    lines += [f"  {'yes' if not each.missing else 'no '}  {_words(each)}{_missing(each)}" for each in weighed]
    return good is not None, "\n".join(lines)


def _words(alternative: Alternative) -> str:
    return " and ".join(condition.words for condition in alternative.conditions)


def _missing(alternative: Alternative) -> str:
    asked = [condition.asks for condition in alternative.missing]
    return f": it takes {' and '.join(asked)}" if asked else ""


_KINDS: Final[dict[str, Scope]] = {kind: kind for kind in get_args(Scope)}


def caller_of(user: str, roles: Iterable[str], scope: str) -> Caller:
    """Who would ask. ``scope`` is as in ``--scope``. Raises PolicyError."""
    name, _, ident = scope.partition(":")
    kind = _KINDS.get(name)
    if kind is None or bool(ident) != (kind in ("project", "domain")):
        raise PolicyError(f"--scope {scope}: it must be project:ID, domain:ID, system or unscoped")
    held = frozenset(role for given in roles for role in _implied(given))
    return Caller(
        user_id=user,
        user_name=user,
        user_domain_id="default",
        user_domain_name="Default",
        scope=kind,
        project_id=ident if kind == "project" else "",
        domain_id=ident if kind == "domain" else "",
        roles=held,
        is_admin="admin" in held,
    )


def _implied(role: str) -> Sequence[str]:
    """The role with those it implies in a new cloud."""
    return ROLES[ROLES.index(role) :] if role in ROLES else (role,)


def target_of(arguments: argparse.Namespace) -> Target | None:
    """What would be acted upon; None: anything the caller could be allowed to."""
    given = Target(
        project_id=arguments.target_project,
        domain_id=arguments.target_domain,
        user_id=arguments.target_user,
    )
    return None if given == Target() else given


def add_show_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``starling policy show`` takes."""
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="rules with this in their name")
    parser.add_argument("--format", choices=FORMATS, default="table", help="default: table")


def add_check_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``starling policy check`` takes."""
    parser.add_argument("what", metavar="RULE|METHOD", help="a rule's name, or a method before a path")
    parser.add_argument("path", nargs="?", default="", metavar="PATH", help="as in /compute/v2.1/servers")
    parser.add_argument("--user", default="somebody", metavar="ID", help="the caller's user")
    parser.add_argument("--roles", default="", metavar="ROLE,…", help="the caller's roles")
    parser.add_argument(
        "--scope", default="unscoped", help="project:ID, domain:ID, system or unscoped (default)"
    )
    parser.add_argument(
        "--target-project", default="", metavar="ID", help="whose it is; without any target: the best case"
    )
    parser.add_argument("--target-domain", default="", metavar="ID", help="the same, for a domain")
    parser.add_argument("--target-user", default="", metavar="ID", help="the same, for a user")


def show(policy_file: str, arguments: argparse.Namespace) -> int:
    """``starling policy show``. Raises PolicyError."""
    policy = effective(policy_file)
    found = [rule for rule in rules(policy) if arguments.name in rule.name]
    if not found:
        policy.require(arguments.name)
    print(shown(found, arguments.format), end="")
    return 0


def check(policy_file: str, arguments: argparse.Namespace) -> int:
    """``starling policy check``: 0 when the caller may, 1 when not. Raises PolicyError."""
    policy = effective(policy_file)
    roles = [role.strip() for role in arguments.roles.split(",") if role.strip()]
    caller = caller_of(arguments.user, roles, arguments.scope)
    target = target_of(arguments)
    asked = named(policy, arguments.what, arguments.path)
    verdicts = [verdict(policy, rule, caller, target) for rule in asked]
    print("\n".join(text for _, text in verdicts))
    return 0 if all(allowed for allowed, _ in verdicts) else 1
