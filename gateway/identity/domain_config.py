"""Settings of domains, kept for tools that manage them here. Nothing in Starling reads them.

Options of a directory service may be stored like any other; logins by one are not there.
Source: Identity API v3, "Domain configuration"; the options and what is sensitive are Keystone's.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gateway.identity.collection import encoded, not_found
from gateway.policy import Target
from gateway.problem import Problem
from gateway.request import Request, Response
from gateway.route import Route
from store import domain_config, identity
from store.domain_config import Options
from store.identity import Domain
from store.pool import Connection

VALUE_BYTES_MAX: Final = 8192  # of one option, as JSON
COMPLIANCE: Final = "security_compliance"
DEFAULT_DOMAIN: Final = "default"

# Option → its default, by group.
OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "identity": {"driver": "sql", "list_limit": None},
    "ldap": {
        "url": "ldap://localhost",
        "user": None,
        "suffix": "cn=example,cn=com",
        "query_scope": "one",
        "page_size": 0,
        "alias_dereferencing": "default",
        "debug_level": None,
        "chase_referrals": None,
        "user_tree_dn": None,
        "user_filter": None,
        "user_objectclass": "inetOrgPerson",
        "user_id_attribute": "cn",
        "user_name_attribute": "sn",
        "user_mail_attribute": "mail",
        "user_description_attribute": "description",
        "user_pass_attribute": "userPassword",
        "user_enabled_attribute": "enabled",
        "user_enabled_invert": False,
        "user_enabled_mask": 0,
        "user_enabled_default": "True",
        "user_attribute_ignore": ["default_project_id"],
        "user_default_project_id_attribute": None,
        "user_enabled_emulation": False,
        "user_enabled_emulation_dn": None,
        "user_enabled_emulation_use_group_config": False,
        "user_additional_attribute_mapping": [],
        "group_tree_dn": None,
        "group_filter": None,
        "group_objectclass": "groupOfNames",
        "group_id_attribute": "cn",
        "group_name_attribute": "ou",
        "group_members_are_ids": False,
        "group_member_attribute": "member",
        "group_desc_attribute": "description",
        "group_attribute_ignore": [],
        "group_additional_attribute_mapping": [],
        "tls_cacertfile": None,
        "tls_cacertdir": None,
        "use_tls": False,
        "tls_req_cert": "demand",
        "use_pool": True,
        "pool_size": 10,
        "pool_retry_max": 3,
        "pool_retry_delay": 0.1,
        "pool_connection_timeout": -1,
        "pool_connection_lifetime": 600,
        "use_auth_pool": True,
        "auth_pool_size": 100,
        "auth_pool_connection_lifetime": 60,
    },
}
SENSITIVE: Final = frozenset({("ldap", "password")})
"""Options that are never shown."""

ConfigBody = dict[str, dict[str, Any]]


def _invalid(reason: str) -> Problem:
    return Problem(403, f"Invalid domain specific configuration: {reason}.")


def _check_known(group: str | None, option: str | None) -> None:
    """Refuse what cannot be set. Raises Problem 403."""
    if group is not None and group not in OPTIONS:
        raise _invalid(f"Group {group} is not supported for domain specific configurations")
    known = group is None or option is None or option in OPTIONS[group] or (group, option) in SENSITIVE
    if not known:
        raise _invalid(
            f"Option {option} in group {group} is not supported for domain specific configurations"
        )


def _path(request: Request) -> tuple[str | None, str | None]:
    group, option = request.params.get("group"), request.params.get("option")
    _check_known(group, option)
    return group, option


async def _domain(request: Request, c: Connection, *, lock: bool = False) -> str:
    """The domain of the path; ``lock``: one change of its settings at a time. Raises Problem 404 or 403."""
    ident = request.params["id"]
    if await identity.get(c, Domain, ident, lock=lock) is None:
        raise not_found("domain", ident)
    request.authorize(Target(domain_id=ident))
    return ident


def _sent(request: Request, group: str | None, option: str | None) -> dict[tuple[str, str], Any]:
    """What the body sets: only what the path names. Raises Problem 400 or 403."""
    body: ConfigBody = request.body
    if set(body) != {"config"}:
        raise Problem(400, "Invalid request body: it must hold 'config' and nothing else.")
    config: dict[str, Any] = body["config"]
    if group is not None and option is not None:
        config = {group: config}
    if not config:
        raise _invalid("No options specified")
    found: dict[tuple[str, str], Any] = {}
    for name, options in config.items():
        if not options or not isinstance(options, dict):
            raise _invalid(
                f"The value of group {name} specified in the config should be a dictionary of options"
            )
        for word, value in options.items():
            _check_known(name, word)
            if (group is not None and name != group) or (option is not None and word != option):
                raise _invalid(f"only {option or group} may be specified in the config")
            if len(encoded(value)) > VALUE_BYTES_MAX:
                raise Problem(400, f"The value of {word} is longer than {VALUE_BYTES_MAX} bytes.")
            found[name, word] = value
    return found


def _shown(options: Options) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for (group, option), value in options.items():
        if (group, option) not in SENSITIVE:
            config.setdefault(group, {})[option] = msgspec.json.decode(value)
    return config


async def _write(request: Request, c: Connection, domain_id: str, sent: dict[tuple[str, str], Any]) -> None:
    vault = request.services.vault
    values = {
        name: vault.seal(encoded(value).decode()) if name in SENSITIVE else encoded(value).decode()
        for name, value in sent.items()
    }
    await domain_config.write(c, domain_id, values)


async def create(request: Request) -> Response:
    """Set the whole configuration, instead of one there may be."""
    sent = _sent(request, None, None)
    async with request.services.pool.acquire() as c, c.transaction():
        domain_id = await _domain(request, c, lock=True)
        was_there = await domain_config.remove(c, domain_id)
        await _write(request, c, domain_id, sent)
        config = _shown(await domain_config.read(c, domain_id))
    return Response({"config": config}, status=200 if was_there else 201)


async def show(request: Request) -> Response:
    """The configuration, a group of it or one option; without what is sensitive."""
    if request.params.get("group") == COMPLIANCE:
        return _compliance(request)
    group, option = _path(request)
    async with request.services.read_pool.acquire() as c:
        request.authorize(Target(domain_id=request.params["id"]), "identity:get_domain_config")
        domain_id = await _domain(request, c)
        config = _shown(await domain_config.read(c, domain_id, group, option))
    if not config:
        what = f"option {option} in group {group}" if option else f"group {group}" if group else "any options"
        raise Problem(404, f"Could not find domain configuration for domain {domain_id}: {what}.")
    if group is not None and option is not None:
        config = config[group]
    return Response({"config": config})


def _compliance(request: Request) -> Response:
    """What new passwords must be like: told to everybody who has a token."""
    if request.params["id"] != DEFAULT_DOMAIN:
        raise _invalid(
            "Reading security compliance information for any domain other than the default domain is not"
            " allowed or supported"
        )
    rules = request.services.settings.password_rules
    told = {
        "password_regex": rules.regex or None,
        "password_regex_description": rules.regex_description or None,
    }
    option = request.params.get("option")
    if option is None:
        return Response({"config": {COMPLIANCE: told}})
    if option not in told:
        raise _invalid(
            "Reading security compliance values other than password_regex and password_regex_description is"
            " not allowed"
        )
    return Response({"config": {option: told[option]}})


async def update(request: Request) -> Response:
    """Set some options; a group or an option of the path must be there already."""
    group, option = _path(request)
    sent = _sent(request, group, option)
    async with request.services.pool.acquire() as c, c.transaction():
        domain_id = await _domain(request, c, lock=True)
        if group is not None and not await domain_config.read(c, domain_id, group, option):
            what = f"option {option} in group {group}" if option else f"group {group}"
            raise Problem(404, f"Could not find domain configuration for domain {domain_id}: {what}.")
        await _write(request, c, domain_id, sent)
        config = _shown(await domain_config.read(c, domain_id))
    return Response({"config": config})


async def delete(request: Request) -> Response:
    """Forget the configuration, a group of it or one option."""
    group, option = _path(request)
    async with request.services.pool.acquire() as c, c.transaction():
        domain_id = await _domain(request, c, lock=True)
        if not await domain_config.remove(c, domain_id, group, option):
            what = (
                f"option {option} in group {group}"
                if option
                else f"group {group}"
                if group
                else "any options"
            )
            raise Problem(404, f"Could not find domain configuration for domain {domain_id}: {what}.")
    return Response()


async def show_default(request: Request) -> Response:
    """What options have where a domain sets none."""
    group, option = _path(request)
    if group is None:
        return Response({"config": OPTIONS})
    if option is None:
        return Response({"config": {group: OPTIONS[group]}})
    if option not in OPTIONS[group]:
        raise _invalid(f"Option {option} in group {group} has no default")
    return Response({"config": {option: OPTIONS[group][option]}})


_CONFIG: Final = "/v3/domains/{id}/config"
_DEFAULT: Final = "/v3/domains/config/default"
_BELOW: Final = ("", "/{group}", "/{group}/{option}")

ROUTES: Final = (
    *(Route("GET", _DEFAULT + below, show_default, "identity:get_domain_config_default") for below in _BELOW),
    Route("PUT", _CONFIG, create, "identity:create_domain_config", request=ConfigBody),
    *(Route("GET", _CONFIG + below, show, "identity:read_domain_config") for below in _BELOW),
    *(
        Route("PATCH", _CONFIG + below, update, "identity:update_domain_config", request=ConfigBody)
        for below in _BELOW
    ),
    *(Route("DELETE", _CONFIG + below, delete, "identity:delete_domain_config", 204) for below in _BELOW),
)
