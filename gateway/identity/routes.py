"""The Identity API as one table: all its rows, and who may do what.

Source of the rules: Keystone's default policies (admin, system reader, domain manager and reader).
"""

from typing import Final

from gateway.envelope import keystone
from gateway.identity import app_credential, catalog, discovery, ec2, login, trust
from gateway.identity.credential import CREDENTIALS
from gateway.identity.domain import DOMAINS
from gateway.identity.grant import GRANTS
from gateway.identity.group import GROUPS
from gateway.identity.project import PROJECTS
from gateway.identity.role import IMPLICATIONS, ROLE_COLLECTION
from gateway.identity.role_assignment import AssignmentQuery, list_assignments
from gateway.identity.user import USERS
from gateway.route import Api, Route

_READ = "admin or system reader or domain reader"
_MANAGE = "admin or domain manager"
_OPERATE = "admin or system reader"

RULES: Final = {
    "identity:discover": "public",
    "identity:create_token": "public",
    "identity:validate_token": "admin or system reader or self",
    "identity:check_token": "admin or system reader or self",
    "identity:revoke_token": "admin or self",
    "identity:get_auth_catalog": "authenticated",
    "identity:get_auth_projects": "authenticated",
    "identity:get_auth_domains": "authenticated",
    "identity:get_auth_system": "authenticated",
    "identity:list_domains": _OPERATE,
    "identity:get_domain": _READ,
    "identity:create_domain": "admin",
    "identity:update_domain": "admin",
    "identity:delete_domain": "admin",
    "identity:list_projects": _READ,
    "identity:get_project": f"{_READ} or project reader",
    "identity:create_project": _MANAGE,
    "identity:update_project": _MANAGE,
    "identity:delete_project": _MANAGE,
    "identity:list_users": _READ,
    "identity:get_user": f"{_READ} or self",
    "identity:create_user": _MANAGE,
    "identity:update_user": _MANAGE,
    "identity:delete_user": _MANAGE,
    "identity:change_password": "public",
    "identity:list_user_projects": f"{_READ} or self",
    "identity:list_groups_for_user": f"{_READ} or self",
    "identity:list_groups": _READ,
    "identity:get_group": _READ,
    "identity:create_group": _MANAGE,
    "identity:update_group": _MANAGE,
    "identity:delete_group": _MANAGE,
    "identity:list_users_in_group": _READ,
    "identity:check_user_in_group": _READ,
    "identity:add_user_to_group": _MANAGE,
    "identity:remove_user_from_group": _MANAGE,
    "identity:list_credentials": f"{_OPERATE} or self",
    "identity:get_credential": f"{_OPERATE} or self",
    "identity:create_credential": "admin or self",
    "identity:update_credential": "admin or self",
    "identity:delete_credential": "admin or self",
    "identity:ec2_list_credentials": f"{_OPERATE} or self",
    "identity:ec2_get_credential": f"{_OPERATE} or self",
    "identity:ec2_create_credential": "admin or role:member and self",
    "identity:ec2_delete_credential": "admin or role:member and self",
    "identity:ec2tokens_validate": "admin or role:service",
    "identity:s3tokens_validate": "admin or role:service",
    "identity:create_trust": "self",
    "identity:list_trusts": _OPERATE,
    "identity:list_trusts_for_trustor": f"{_OPERATE} or self",
    "identity:list_trusts_for_trustee": f"{_OPERATE} or self",
    "identity:get_trust": f"{_OPERATE} or self",
    "identity:delete_trust": "admin or self",
    "identity:list_roles_for_trust": f"{_OPERATE} or self",
    "identity:get_role_for_trust": f"{_OPERATE} or self",
    "identity:list_application_credentials": f"{_OPERATE} or self",
    "identity:get_application_credential": f"{_OPERATE} or self",
    "identity:create_application_credential": "self",
    "identity:delete_application_credential": "admin or self",
    "identity:list_access_rules": "system reader or self",
    "identity:get_access_rule": "system reader or self",
    "identity:delete_access_rule": "system admin or self",
    "identity:list_roles": "admin or system reader or domain manager",
    "identity:get_role": "admin or system reader or domain manager",
    "identity:create_role": "admin",
    "identity:update_role": "admin",
    "identity:delete_role": "admin",
    "identity:list_implied_roles": _OPERATE,
    "identity:get_implied_role": _OPERATE,
    "identity:check_implied_role": _OPERATE,
    "identity:create_implied_role": "admin",
    "identity:delete_implied_role": "admin",
    "identity:list_role_inference_rules": _OPERATE,
    "identity:list_grant": _READ,
    "identity:check_grant": _READ,
    "identity:create_grant": _MANAGE,
    "identity:revoke_grant": _MANAGE,
    "identity:list_system_grant": _OPERATE,
    "identity:check_system_grant": _OPERATE,
    "identity:create_system_grant": "admin",
    "identity:revoke_system_grant": "admin",
    "identity:list_role_assignments": _READ,
    "identity:list_regions": "authenticated",
    "identity:get_region": "authenticated",
    "identity:create_region": "admin",
    "identity:update_region": "admin",
    "identity:delete_region": "admin",
    "identity:list_services": _OPERATE,
    "identity:get_service": _OPERATE,
    "identity:create_service": "admin",
    "identity:update_service": "admin",
    "identity:delete_service": "admin",
    "identity:list_endpoints": _OPERATE,
    "identity:get_endpoint": _OPERATE,
    "identity:create_endpoint": "admin",
    "identity:update_endpoint": "admin",
    "identity:delete_endpoint": "admin",
}

ROUTES: Final[tuple[Route, ...]] = (
    *discovery.ROUTES,
    *login.ROUTES,
    *DOMAINS.routes(),
    *PROJECTS.routes(),
    *USERS.routes(),
    *GROUPS.routes(),
    *CREDENTIALS.routes(),
    *ec2.ROUTES,
    *app_credential.ROUTES,
    *trust.ROUTES,
    *ROLE_COLLECTION.routes(),
    *IMPLICATIONS,
    *GRANTS,
    Route(
        "GET",
        "/v3/role_assignments",
        list_assignments,
        "identity:list_role_assignments",
        query=AssignmentQuery,
    ),
    *catalog.routes(),
)

API: Final = Api(
    name="identity",
    prefix="/identity",
    routes=ROUTES,
    rules=RULES,
    envelope=keystone,
    directory=discovery.versions,
    barred_methods=frozenset({ec2.METHOD}),
)
