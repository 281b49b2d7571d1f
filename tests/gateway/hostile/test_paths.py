"""Path parameters and queries that are not what a route expects: an answer in its own format, and soon."""

from collections.abc import Iterator
from typing import Final

import pytest
from msgspec import structs

from tests.gateway.hostile.cloud import Cloud
from tests.gateway.hostile.route import Place, places
from tests.gateway.hostile.sample import samples
from tests.gateway.hostile.test_bodies import short, speaker
from tests.gateway.hostile.walk import Attack, encoded, walk
from tests.gateway.hostile.wire import Answer

pytestmark = pytest.mark.asyncio(loop_scope="package")

SOON_S: Final = 8.0
"""Time for the costliest answer on a busy machine; patterns that would take minutes are cut off before."""

SEGMENTS: Final = (
    "%00", "a%00b", "%2F", "..%2F..%2F..%2Fetc%2Fpasswd", "..", ".", "%2e%2e", "%2e%2e%2f", "%5c..%5c",
    "%F0%9F%92%A5", "%ff%fe", "%ED%A0%80", "%E2%80%AE%E2%81%A6", "%C0%AF", "\udcff\udcfe", "\U0001f4a5",
    "%", "%zz", "%0d%0aX-Injected:%20yes", "%01%1b", "%7f", "%20", "%09", "a;b=c", "*", "null", "-1", "0",
    "9" * 40, "{id}", "%2500", "a'b\"c", "%27%3B--", "<script>", "%3Cscript%3E", "a" * 255, "a" * 300,
    "a" * 7000,
    "a.json", ".json", "detail", "00000000-0000-4000-8000-000000000000", "%25s%25n", "a%23b", "a%3Fb",
    "@", ",",
)  # fmt: skip

VALUES: Final = (
    "", "%00", "-1", "1.5", "x", "9" * 9, "9" * 40, "%ff", "%ED%A0%80", "\udcff", "%F0%9F%92%A5",
    "%27%3B--",
    "%5B", "(", "(a%2B)%2B%24", "(((((((((a*)*)*)*)*)*)*)*)*)*b", "a%7B1000%7D%7B1000%7D%7B99%7D", "%5C",
    "***",
    "(" * 200, "in:%22", "in:" + "," * 900, "gt:x", "gte:9999-12-31T23:59:59Z", "9999-99-99", "a" * 300,
    "true",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59%2B00:00", "99999-01-01", "2026-01-01T00:00:00%2B99:99",
)  # fmt: skip

NAMES: Final[dict[str, tuple[str, ...]]] = {
    "identity": (
        "limit", "marker", "name", "domain_id", "parent_id", "enabled", "type", "interface", "service_id",
        "region_id", "user.id", "role.id", "scope.project.id", "effective", "include_names",
        "include_subtree",
    ),
    "compute": (
        "limit", "marker", "name", "ip", "ip6", "status", "image", "flavor", "changes-since",
        "changes-before",
        "deleted", "all_tenants", "tags", "not-tags-any", "sort_key", "sort_dir", "locked", "host",
        "tenant_id",
        "config_drive", "power_state", "created_at", "progress", "uuid", "is_public", "minRam",
        "minDisk", "start",
        "end", "detailed", "user_id", "reserved", "with_servers", "hypervisor_hostname_pattern", "binary",
        "availability_zone", "key_name", "description", "locked_by", "soft_deleted", "launched_at",
    ),
    "image": (
        "limit", "marker", "name", "id", "visibility", "member_status", "owner", "status", "tag",
        "size_min",
        "size_max", "protected", "os_hidden", "created_at", "updated_at", "sort", "sort_key", "sort_dir",
        "checksum",
        "min_ram", "disk_format", "os_distro", "host", "generation", "expires", "signature",
    ),
    "network": (
        "limit", "marker", "page_reverse", "fields", "sort_key", "sort_dir", "id", "name", "project_id",
        "shared",
        "admin_state_up", "mtu", "network_id", "cidr", "gateway_ip", "ip_version", "mac_address",
        "device_id",
        "fixed_ips", "status", "router:external", "revision_number", "tags", "security_group_id",
        "direction",
    ),


    "starling": ("limit", "marker", "after", "cursor", "subject", "type", "since", "server", "all_projects"),
}  # fmt: skip
WHOLE: Final = (
    "=", "&&&", "a", "?", "%", "%zz", "%00=1", "%ff=1", "\udcff=1", "limit=1&limit=2", "marker=a&marker=b",
    "sort_key=id&sort_key=name&sort_dir=asc&sort_dir=desc&sort_dir=asc", "sort=id:asc:x,,",
    "sort=" + "id," * 50,
    "&".join(f"a{n}=b" for n in range(250)), "&".join(["name=x"] * 199), "&".join(["fields=id"] * 190),
    "tag=" + "&tag=".join("abcdefgh"), "x" * 7000, "no_such_parameter=1",
    "signature=x&host=y&expires=1&generation=1",
    "signature=x&host=%ff&expires=" + "9" * 40 + "&generation=1", "name=x;y=z", "name[]=1",
    "name%5B%24ne%5D=1",
)  # fmt: skip

MANY: Final = {
    "GET /compute/v2.1/servers/detail": 1,
    "GET /image/v2/images": 1,
    "GET /network/v2.0/ports": 2,
    "GET /identity/v3/projects": 2,
    "GET /identity/v3/role_assignments": 2,
    "GET /compute/v2.1/flavors": 2,
    "GET /compute/v2.1/os-hypervisors": 2,
    "GET /compute/v2.1/os-simple-tenant-usage": 2,
    "GET /v1/operations": 1,
    "GET /v1/events": 4,
}
"""Lists whose parameters each get all the values, or every second one."""
FEW: Final = 12
"""Every other list tries one value in so many: those of the same API share its code."""


def headers_of(place: Place) -> dict[str, str]:
    return {"OpenStack-API-Version": "compute latest"} if place.api.name == "compute" else {}


def soon(attack: Attack, answer: Answer) -> str:
    return short(attack, answer) or (f"took {answer.seconds:.1f} s" if answer.seconds > SOON_S else "")


def misled(cloud: Cloud) -> Iterator[Attack]:
    """Every route, one of its path parameters at a time replaced."""
    for place in places():
        good = next(iter(samples(place, cloud.victims)), None)
        body = encoded(good) if good is not None else b"data" if place.route.request is not None else None
        for n, parameter in enumerate(dict.fromkeys(place.parameters)):
            for segment in SEGMENTS[n % 4 :: 4] if n else SEGMENTS:
                target = place.target({**cloud.victims, parameter: segment})
                label = f"{parameter}={segment[:40]}"
                yield Attack(place, label, target, speaker(cloud, place), headers_of(place), body)


async def test_no_path_parameter_is_too_strange(cloud: Cloud) -> None:
    def judge(attack: Attack, answer: Answer) -> str:
        return "a header was injected" if "x-injected" in answer.headers else soon(attack, answer)

    assert await walk(cloud, misled(cloud), judge) > 3000


async def test_a_compute_path_with_a_strange_project_is_refused(cloud: Cloud) -> None:
    work = (
        Attack(place, segment[:40], place.target({**cloud.victims, "compute:v2.1": segment}), "admin")
        for place in places(both_forms=True)
        if place.is_project_form and place.route.path.count("/") == 3
        for segment in SEGMENTS
    )

    def judge(_: Attack, answer: Answer) -> str:
        return "" if answer.status >= 400 else "not refused"

    await walk(cloud, work, judge)


def filters(place: Place) -> Iterator[str]:
    """The list's parameters with hostile values, not the same ones for each."""
    declared = structs.fields(place.route.query) if place.route.query is not None else ()
    names = dict.fromkeys((*(field.encode_name for field in declared), *NAMES[place.api.name]))
    for n, name in enumerate(names):
        step = MANY.get(place.name, FEW)
        for value in VALUES[n % step :: step]:
            yield f"{name}={value}"


def asked(cloud: Cloud) -> Iterator[Attack]:
    """Every GET with whole queries; lists with each known parameter as well."""
    for place in places():
        if place.route.method != "GET":
            continue
        plain, who, headers = place.target(cloud.victims), speaker(cloud, place), headers_of(place)
        queries = list(WHOLE)
        if not place.parameters:
            queries += filters(place)
        for query in queries:
            yield Attack(place, query[:60], f"{plain}?{query}", who, headers)


async def test_no_query_is_too_strange(cloud: Cloud) -> None:
    assert await walk(cloud, asked(cloud), soon) > 4000


async def test_no_query_of_an_admin_is_too_strange(cloud: Cloud) -> None:
    """Lists of servers have more filters for an admin."""
    names = {"GET /compute/v2.1/servers/detail", "GET /v1/operations"}
    work = (
        Attack(place, query[:60], f"{place.target({})}?all_tenants=1&{query}", "admin", headers_of(place))
        for place in places()
        if place.name in names
        for query in (*WHOLE, *filters(place))
    )
    assert await walk(cloud, work, soon) > 1000


ORDERS: Final = {
    "GET /compute/v2.1/servers/detail": ("compute:servers", ("sort_key={}&sort_dir=asc", "sort_key={}")),
    "GET /compute/v2.1/flavors": (
        "compute:flavors",
        ("sort_key={}&sort_dir=asc", "sort_key={}&sort_dir=desc"),
    ),
    "GET /image/v2/images": (
        "image:images",
        ("sort={}:asc", "sort={}:desc,name", "sort_key={}&sort_dir=asc"),
    ),
    "GET /network/v2.0/ports": ("network:ports", ("sort_key={}&sort_dir=asc", "sort_key={}&sort_dir=desc")),
    "GET /network/v2.0/networks": ("network:networks", ("sort_key={}&sort_dir=desc&page_reverse=True",)),
    "GET /network/v2.0/subnets": ("network:subnets", ("sort_key={}&sort_dir=asc",)),
    "GET /identity/v3/projects": ("identity:projects", ("sort_key={}",)),
}
"""Lists in pages: what to continue after, and how they are told their order."""
KEYS: Final = (
    "id", "uuid", "name", "display_name", "display_description", "status", "created_at", "updated_at",
    "size",
    "launched_at", "terminated_at", "deleted_at", "host", "node", "vm_state", "task_state", "power_state",
    "key_name", "availability_zone", "instance_type_id", "image_ref", "root_device_name", "config_drive",
    "flavorid", "memory_mb", "root_gb", "vcpus", "swap", "disabled", "is_public", "description", "locked",
    "disk_format", "container_format", "min_disk", "min_ram", "virtual_size", "checksum", "visibility",
    "owner",
    "project_id", "user_id", "admin_state_up", "mtu", "shared", "network_id", "mac_address", "device_id",
    "device_owner", "cidr", "ip_version", "gateway_ip", "enable_dhcp", "router:external", "revision_number",
)  # fmt: skip


async def test_every_order_of_a_list_goes_on_after_its_marker(cloud: Cloud) -> None:
    work = (
        Attack(
            place,
            query,
            f"{place.target({})}?limit=1&marker={cloud.things[thing]}&{query}",
            who,
            headers_of(place),
        )
        for place in places()
        if place.name in ORDERS
        for thing, forms in [ORDERS[place.name]]
        for query in (form.format(key) for form in forms for key in KEYS)
        for who in ("rita", "admin")
    )
    assert await walk(cloud, work, soon) > 500
