"""Every identity command of the unmodified ``openstack`` client: it makes, shows, changes and takes away.

What this cloud does not have must be refused with words that say so.
"""

from pathlib import Path
from typing import Any, Final

import pytest

from tests.clients.shell import Shell, ran_whole

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

GROUP: Final = "openstack.identity.v3"
NOWHERE: Final = "0123456789abcdef0123456789abcdef"


def names(found: list[dict[str, Any]], field: str = "Name") -> set[str]:
    return {row[field] for row in found}


def test_domain(admin: Shell) -> None:
    made = admin.json("domain", "create", "--description", "of a test", "d1")
    assert (made["name"], made["description"], made["enabled"]) == ("d1", "of a test", True)
    assert admin.json("domain", "create", "--or-show", "d1")["id"] == made["id"]
    assert "409" in admin.fails("domain", "create", "d1")
    assert {"Default", "d1"} <= names(admin.json("domain", "list"))
    assert names(admin.json("domain", "list", "--name", "d1")) == {"d1"}
    assert "disable" in admin.fails("domain", "delete", "d1")
    admin.do("domain", "set", "--name", "d2", "--description", "changed", "--disable", "d1")
    shown = admin.json("domain", "show", "d2")
    assert (shown["id"], shown["description"], shown["enabled"]) == (made["id"], "changed", False)
    admin.do("domain", "delete", "d2")
    assert "d2" in admin.fails("domain", "show", "d2")


def test_project(admin: Shell) -> None:
    more = ("--tag", "a", "--tag", "b", "--property", "k=v")
    made = admin.json("project", "create", "--description", "of a test", *more, "p1")
    assert (made["name"], sorted(made["tags"]), made["domain_id"]) == ("p1", ["a", "b"], "default")
    child = admin.json("project", "create", "--parent", "p1", "--disable", "p1-child")
    assert (child["parent_id"], child["enabled"]) == (made["id"], False)
    assert admin.json("project", "create", "--or-show", "p1")["id"] == made["id"]
    assert "409" in admin.fails("project", "create", "p1")
    assert {"p1", "p1-child", "admin"} <= names(admin.json("project", "list"))
    assert {"p1", "p1-child"} <= names(admin.json("project", "list", "--long", "--domain", "default"))
    assert names(admin.json("project", "list", "--parent", "p1")) == {"p1-child"}
    assert "admin" in names(admin.json("project", "list", "--my-projects"))
    admin.do(
        "project", "set", "--name", "p2", "--description", "changed", "--tag", "c",
        "--property", "k=w", "p1",
    )  # fmt: skip
    shown = admin.json("project", "show", "p2")
    assert (shown["description"], sorted(shown["tags"]), shown["k"]) == ("changed", ["a", "b", "c"], "w")
    admin.do("project", "set", "--remove-tag", "a", "p2")
    assert sorted(admin.json("project", "show", "p2")["tags"]) == ["b", "c"]
    admin.do("project", "set", "--clear-tags", "--disable", "p2")
    assert admin.json("project", "show", "p2")["tags"] == []
    admin.do("project", "delete", "p1-child", "p2")
    assert "p2" in admin.fails("project", "show", "p2")
    admin.fails("project", "create", "--domain", "nowhere", "x")  # the client does not say why


def test_user(admin: Shell, state: Path) -> None:
    made = admin.json(
        "user", "create", "--password", "first secret", "--email", "u1@example.org", "--project", "demo",
        "--description", "of a test", "u1",
    )  # fmt: skip
    assert (made["name"], made["email"], made["domain_id"]) == ("u1", "u1@example.org", "default")
    assert admin.json("user", "create", "--or-show", "u1")["id"] == made["id"]
    assert "409" in admin.fails("user", "create", "u1")
    assert {"u1", "admin", "demo"} <= names(admin.json("user", "list"))
    assert "u1" in names(admin.json("user", "list", "--long", "--domain", "default"))
    assert names(admin.json("user", "list", "--project", "demo")) == {"demo"}
    admin.do("user", "set", "--name", "u2", "--email", "u2@example.org", "--password", "second secret", "u1")
    shown = admin.json("user", "show", "u2")
    assert (shown["id"], shown["email"], shown["enabled"]) == (made["id"], "u2@example.org", True)
    assert "password" not in shown
    admin.do("user", "set", "--disable", "u2")
    assert admin.json("user", "show", "u2")["enabled"] is False
    admin.do("user", "delete", "u2")
    assert "u2" in admin.fails("user", "show", "u2")
    assert "nowhere" in admin.fails("user", "create", "--domain", "nowhere", "x")


def test_user_password_set(admin: Shell, demo: Shell) -> None:
    """A user changes the own password, and back."""
    old = next(
        line for line in demo.do("configuration", "show", "--unmask").splitlines() if "password" in line
    )
    password = old.split("|")[2].strip()
    said = demo.fails("user", "password", "set", "--original-password", "wrong", "--password", "new secret 1")
    assert "401" in said
    demo.do("user", "password", "set", "--original-password", password, "--password", "new secret 1")
    assert "401" in demo.fails("token", "issue")
    admin.do("user", "set", "--password", password, "demo")
    demo.do("token", "issue")


def test_group(admin: Shell) -> None:
    admin.do("user", "create", "member")
    made = admin.json("group", "create", "--description", "of a test", "g1")
    assert (made["name"], made["description"]) == ("g1", "of a test")
    assert admin.json("group", "create", "--or-show", "g1")["id"] == made["id"]
    assert "409" in admin.fails("group", "create", "g1")
    admin.do("group", "add", "user", "g1", "member", "demo")
    assert names(admin.json("user", "list", "--group", "g1")) == {"member", "demo"}
    assert names(admin.json("group", "list", "--user", "member")) == {"g1"}
    assert "g1" in names(admin.json("group", "list", "--long", "--domain", "default"))
    assert "in group" in admin.do("group", "contains", "user", "g1", "member")
    admin.do("group", "remove", "user", "g1", "member", "demo")
    assert "not in group" in admin.try_("group", "contains", "user", "g1", "member")[2]
    admin.do("group", "set", "--name", "g2", "--description", "changed", "g1")
    assert admin.json("group", "show", "g2")["description"] == "changed"
    admin.do("group", "delete", "g2")
    assert "g2" in admin.fails("group", "show", "g2")
    admin.do("user", "delete", "member")


def test_role_and_assignments(admin: Shell) -> None:
    made = admin.json("role", "create", "--description", "of a test", "r1")
    assert (made["name"], made["description"]) == ("r1", "of a test")
    assert admin.json("role", "create", "--or-show", "r1")["id"] == made["id"]
    assert "409" in admin.fails("role", "create", "r1")
    assert {"admin", "manager", "member", "reader", "r1"} <= names(admin.json("role", "list"))
    admin.do("role", "set", "--name", "r2", "--description", "changed", "r1")
    assert admin.json("role", "show", "r2")["description"] == "changed"
    admin.do("user", "create", "worker")
    admin.do("group", "create", "workers")
    for where in (("--project", "demo"), ("--domain", "default"), ("--system", "all")):
        for who in (("--user", "worker"), ("--group", "workers")):
            admin.do("role", "add", *who, *where, "r2")
            found = admin.json("role", "assignment", "list", "--names", *who, *where)
            assert [row["Role"] for row in found] == ["r2"]
            admin.do("role", "remove", *who, *where, "r2")
            assert admin.json("role", "assignment", "list", *who, *where) == []
    assert {"demo@Default", "admin@Default"} <= names(
        admin.json("role", "assignment", "list", "--names", "--effective", "--role", "reader"), "User"
    )
    admin.fails("role", "add", "--user", "nobody", "--project", "demo", "r2")  # the client does not say why
    admin.do("role", "delete", "r2")
    admin.do("user", "delete", "worker")
    admin.do("group", "delete", "workers")
    assert "r2" in admin.fails("role", "show", "r2")
    assert "403" in admin.fails("role", "delete", "member")


def test_service_region_and_endpoint(admin: Shell) -> None:
    service = admin.json("service", "create", "--name", "s1", "--description", "of a test", "weather")
    assert (service["name"], service["type"], service["enabled"]) == ("s1", "weather", True)
    assert "s1" in names(admin.json("service", "list", "--long"))
    admin.do("service", "set", "--name", "s2", "--description", "changed", "--disable", "s1")
    assert admin.json("service", "show", "s2")["enabled"] is False
    region = admin.json(
        "region", "create", "--parent-region", "RegionOne", "--description", "of a test", "north"
    )
    assert (region["region"], region["parent_region"]) == ("north", "RegionOne")
    assert "409" in admin.fails("region", "create", "north")
    assert names(admin.json("region", "list", "--parent-region", "RegionOne"), "Region") == {"north"}
    admin.do("region", "set", "--description", "changed", "north")
    assert admin.json("region", "show", "north")["description"] == "changed"
    made = admin.json("endpoint", "create", "--region", "north", "s2", "public", "https://example.org/a")
    assert (made["interface"], made["url"], made["service_name"]) == ("public", "https://example.org/a", "s2")
    assert "interface" in admin.fails("endpoint", "create", "s2", "secret", "https://example.org/a")
    listed = admin.json("endpoint", "list", "--service", "s2", "--interface", "public", "--region", "north")
    assert [row["ID"] for row in listed] == [made["id"]]
    admin.do("endpoint", "set", "--url", "https://example.org/b", "--disable", made["id"])
    assert admin.json("endpoint", "show", made["id"])["url"] == "https://example.org/b"
    admin.do("endpoint", "delete", made["id"])
    admin.do("region", "delete", "north")
    admin.do("service", "delete", "s2")
    for words in (("endpoint", "show", NOWHERE), ("region", "show", "north"), ("service", "show", "s2")):
        assert words[-1] in admin.fails(*words)


def test_credential(admin: Shell) -> None:
    made = admin.json("credential", "create", "--type", "totp", "demo", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
    assert made["type"] == "totp"
    listed = admin.json("credential", "list", "--user", "demo", "--type", "totp")
    assert [row["ID"] for row in listed] == [made["id"]]
    assert "required" in admin.fails("credential", "set", made["id"])
    admin.do("credential", "set", "--user", "demo", "--type", "cert", "--data", "other data", made["id"])
    assert admin.json("credential", "show", made["id"])["type"] == "cert"
    admin.do("credential", "delete", made["id"])
    assert made["id"] in admin.fails("credential", "show", made["id"])


def test_ec2_credentials(admin: Shell, demo: Shell) -> None:
    made = demo.json("ec2", "credentials", "create")
    assert made["access"] != made["secret"]
    assert [row["Access"] for row in demo.json("ec2", "credentials", "list")] == [made["access"]]
    assert demo.json("ec2", "credentials", "show", made["access"])["project_id"] == made["project_id"]
    other = admin.json("ec2", "credentials", "create", "--user", "demo", "--project", "demo")
    demo.do("ec2", "credentials", "delete", made["access"], other["access"])
    assert demo.json("ec2", "credentials", "list") == []
    assert made["access"] in demo.fails("ec2", "credentials", "show", made["access"])


def test_token_and_catalog(admin: Shell) -> None:
    token = admin.json("token", "issue")["id"]
    assert admin.try_("token", "revoke", token)[0] == 0
    assert "404" in admin.fails("token", "revoke", token)
    assert {"identity", "compute", "image", "network"} <= names(admin.json("catalog", "list"), "Type")
    assert admin.json("catalog", "show", "compute")["type"] == "compute"
    assert "service nothing not found" in admin.try_("catalog", "show", "nothing")[2]


def test_where_one_may_go(demo: Shell) -> None:
    assert names(demo.json("federation", "project", "list")) == {"demo"}
    assert demo.json("federation", "domain", "list") == []


def test_consumer(admin: Shell) -> None:
    made = admin.json("consumer", "create", "--description", "x")
    assert made["secret"]
    assert made["id"] in names(admin.json("consumer", "list"), "ID")
    admin.do("consumer", "set", "--description", "y", made["id"])
    shown = admin.json("consumer", "show", made["id"])
    assert (shown["description"], "secret" in shown) == ("y", False)
    admin.do("consumer", "delete", made["id"])
    assert made["id"] in admin.fails("consumer", "show", made["id"])


def test_policy(admin: Shell, tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text('{"default": "role:admin"}')
    made = admin.json("policy", "create", "--type", "application/json", str(rules))
    assert made["id"] in names(admin.json("policy", "list"), "ID")
    admin.do("policy", "set", "--type", "text/plain", made["id"])
    assert admin.json("policy", "show", made["id"])["type"] == "text/plain"
    admin.do("policy", "delete", made["id"])
    assert made["id"] in admin.fails("policy", "show", made["id"])


def test_endpoint_group(admin: Shell, tmp_path: Path) -> None:
    filters = tmp_path / "filters.json"
    filters.write_text('{"interface": "public"}')
    made = admin.json("endpoint", "group", "create", "--description", "x", "g1", str(filters))
    assert "g1" in names(admin.json("endpoint", "group", "list"))
    admin.do("endpoint", "group", "set", "--name", "g2", made["id"])
    assert admin.json("endpoint", "group", "show", made["id"])["name"] == "g2"
    admin.do("endpoint", "group", "add", "project", made["id"], "demo")
    assert names(admin.json("endpoint", "group", "list", "--project", "demo")) == {"g2"}
    admin.do("endpoint", "group", "remove", "project", made["id"], "demo")
    admin.do("endpoint", "group", "delete", made["id"])
    assert made["id"] in admin.fails("endpoint", "group", "show", made["id"])
    filters.write_text("{}")
    assert "filters" in admin.fails("endpoint", "group", "create", "g3", str(filters))


def test_an_endpoint_for_a_project(admin: Shell) -> None:
    admin.json("project", "create", "p-endpoint")
    endpoint = admin.json("endpoint", "list")[0]["ID"]
    admin.do("endpoint", "add", "project", endpoint, "p-endpoint")
    listed = admin.json("endpoint", "list", "--project", "p-endpoint")
    assert endpoint in names(listed, "ID")
    admin.do("endpoint", "remove", "project", endpoint, "p-endpoint")
    admin.do("project", "delete", "p-endpoint")


def test_implied_role(admin: Shell) -> None:
    admin.json("role", "create", "above")
    admin.json("role", "create", "below")
    admin.do("implied", "role", "create", "above", "--implied-role", "below")
    assert "below" in names(admin.json("implied", "role", "list"), "Implied Role Name")
    admin.do("implied", "role", "delete", "above", "--implied-role", "below")
    assert "below" not in names(admin.json("implied", "role", "list"), "Implied Role Name")
    admin.do("role", "delete", "above", "below")


def test_limits(admin: Shell) -> None:
    service = admin.json("service", "list")[0]["ID"]
    default = admin.json(
        "registered", "limit", "create", "--service", service, "--default-limit", "9", "wheels"
    )
    assert default["id"] in names(admin.json("registered", "limit", "list"), "ID")
    admin.do("registered", "limit", "set", "--default-limit", "8", default["id"])
    assert admin.json("registered", "limit", "show", default["id"])["default_limit"] == 8
    own = admin.json(
        "limit", "create", "--project", "demo", "--service", service, "--resource-limit", "5", "wheels"
    )
    assert own["id"] in names(admin.json("limit", "list", "--project", "demo"), "ID")
    admin.do("limit", "set", "--resource-limit", "6", own["id"])
    assert admin.json("limit", "show", own["id"])["resource_limit"] == 6
    assert "limit" in admin.fails("registered", "limit", "delete", default["id"])
    admin.do("limit", "delete", own["id"])
    admin.do("registered", "limit", "delete", default["id"])


def test_application_credential(demo: Shell, tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text('[{"service": "compute", "method": "GET", "path": "/v2.1/servers"}]')
    words = ("--role", "member", "--access-rules", str(rules), "robot")
    made = demo.json("application", "credential", "create", *words)
    assert made["Secret"]
    assert names(demo.json("application", "credential", "list")) == {"robot"}
    assert demo.json("application", "credential", "show", "robot")["ID"] == made["ID"]
    (rule,) = demo.json("access", "rule", "list")
    assert demo.json("access", "rule", "show", rule["ID"])["Method"] == "GET"
    assert "rule" in demo.fails("access", "rule", "delete", rule["ID"])
    demo.do("application", "credential", "delete", "robot")
    demo.do("access", "rule", "delete", rule["ID"])
    assert demo.json("access", "rule", "list") == []


def test_trust(admin: Shell, demo: Shell) -> None:
    own = demo.json("token", "issue")
    trustee = admin.json("user", "show", "admin")["id"]
    role = admin.json("role", "show", "member")["id"]
    words = ("--project", own["project_id"], "--role", role, own["user_id"], trustee)
    made = demo.json("trust", "create", *words)
    assert made["id"] in names(admin.json("trust", "list"), "ID")
    assert demo.json("trust", "show", made["id"])["id"] == made["id"]
    demo.do("trust", "delete", made["id"])
    assert made["id"] in admin.fails("trust", "show", made["id"])


ABSENT: Final[dict[str, tuple[str, ...]]] = {
    "request token create": (
        "--consumer-key", "k", "--consumer-secret", "s", "--project", "demo",
    ),
    "request token authorize": ("--request-key", "k", "--role", "member"),
    "access token create": (
        "--consumer-key", "k", "--consumer-secret", "s", "--request-key", "k", "--request-secret", "s",
        "--verifier", "v",
    ),
    "identity provider create": ("x",),
    "identity provider delete": ("x",),
    "identity provider list": (),
    "identity provider set": ("--description", "x", "x"),
    "identity provider show": ("x",),
    "mapping create": ("--rules", "RULES", "x"),
    "mapping delete": ("x",),
    "mapping list": (),
    "mapping set": ("--rules", "RULES", "x"),
    "mapping show": ("x",),
    "federation protocol create": ("--identity-provider", "x", "--mapping", "x", "x"),
    "federation protocol delete": ("--identity-provider", "x", "x"),
    "federation protocol list": ("--identity-provider", "x"),
    "federation protocol set": ("--identity-provider", "x", "--mapping", "x", "x"),
    "federation protocol show": ("--identity-provider", "x", "x"),
    "service provider create": ("--auth-url", "https://x", "--service-provider-url", "https://x", "x"),
    "service provider delete": ("x",),
    "service provider list": (),
    "service provider set": ("--description", "x", "x"),
    "service provider show": ("x",),
}  # fmt: skip
"""What this cloud does not have: tokens by OAuth 1, federation."""
NO: Final = ("404", "not found", "Not Found", "could not be found", "exists")
QUIET: Final = {"identity provider delete", "service provider delete"}
"""The client takes what is not there for deleted."""


@pytest.mark.parametrize("command", ABSENT)
def test_what_is_not_there_is_refused_in_words(admin: Shell, tmp_path: Path, command: str) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text("{}")
    words = (*command.split(), *(str(rules) if word == "RULES" else word for word in ABSENT[command]))
    if command in QUIET:
        assert admin.try_(*words) == (0, "", "")
        return
    said = admin.fails(*words)
    assert any(word in said for word in NO), said


def test_every_command_was_given(admin: Shell, demo: Shell, request: pytest.FixtureRequest) -> None:
    if not ran_whole(request):
        pytest.skip("only a part of the tests was asked for")
    never = admin.never_ran(GROUP) & demo.never_ran(GROUP)
    assert never == set()
