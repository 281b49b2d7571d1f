"""The tables that hold actors: one per kind, with the typed columns that lists filter and sort by.

Each table has ``id, partition, version, state, due_at, gone`` first (store.turns writes them for every
kind alike) and then the columns named here, in this order, as the kind's ``columns`` function gives them.
"""

from typing import Final

from msgspec import Struct


class Table(Struct, frozen=True):
    """A kind's table and its own columns with their PostgreSQL types."""

    name: str
    columns: tuple[tuple[str, str], ...]


TABLES: Final[dict[str, Table]] = {
    "instance": Table(
        "compute.instance",
        (
            ("project_id", "text"),
            ("user_id", "text"),
            ("name", "text"),
            ("hostname", "text"),
            ("vm_state", "text"),
            ("task_state", "text"),
            ("status", "text"),
            ("power_state", "int"),
            ("host", "text"),
            ("flavor_id", "text"),
            ("image_id", "text"),
            ("key_name", "text"),
            ("availability_zone", "text"),
            ("locked", "bool"),
            ("description", "text"),
            ("created_at", "float8"),
            ("updated_at", "float8"),
            ("launched_at", "float8"),
            ("deleted_at", "float8"),
            ("server_group", "text"),
            ("view", "text"),
        ),
    ),
    "host": Table(
        "compute.host",
        (
            ("hostname", "text"),
            ("life", "text"),
            ("disabled", "bool"),
            ("forced_down", "bool"),
            ("availability_zone", "text"),
            ("heard_at", "float8"),
            ("created_at", "float8"),
            ("updated_at", "float8"),
            ("view", "text"),
        ),
    ),
    "group": Table("compute.group_ledger", (("seats", "int"),)),
    "project": Table(
        "compute.project",
        (
            ("instances", "int"),
            ("cores", "bigint"),
            ("memory_mib", "bigint"),
        ),
    ),
    "image": Table(
        "image.image",
        (
            ("owner", "text"),
            ("name", "text"),
            ("status", "text"),
            ("visibility", "text"),
            ("hidden", "bool"),
            ("protected", "bool"),
            ("disk_format", "text"),
            ("container_format", "text"),
            ("size_bytes", "bigint"),
            ("locations", "text[]"),
            ("held", "text[]"),
            ("created_at", "float8"),
            ("updated_at", "float8"),
            ("view", "text"),
        ),
    ),
}
