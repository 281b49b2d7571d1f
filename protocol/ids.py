"""Identifiers and addresses: who a message is for, and which partition holds an actor.

An address is ``kind/id``. Actors (``instance``, ``host``, ``image``, ``project``, ``group``) live in
partitions; ``agent``, ``gateway`` and ``scheduler`` are parties with a queue of their own.
"""

import uuid
import zlib
from typing import Final, NewType

InstanceId = NewType("InstanceId", str)
HostId = NewType("HostId", str)
ImageId = NewType("ImageId", str)
ProjectId = NewType("ProjectId", str)
UserId = NewType("UserId", str)
OperationId = NewType("OperationId", str)
Address = NewType("Address", str)

ACTOR_KINDS: Final = frozenset({"instance", "host", "image", "project", "group"})
_OPERATION_SPACE: Final = uuid.UUID("8f0d6a52-5f0e-5c1e-9a59-6b7d1f0c2b11")


def address(kind: str, ident: str) -> Address:
    """The address of one actor or party, for example ``instance/6f0c…``."""
    return Address(f"{kind}/{ident}")


def key_of(to: str) -> tuple[str, str]:
    """Kind and id: ``("instance", "6f0c…")``."""
    kind, _, ident = to.partition("/")
    return kind, ident


def kind_of(to: str) -> str:
    """The part before the slash: such as ``instance``, ``host`` or ``agent``."""
    return to.partition("/")[0]


def ident_of(to: str) -> str:
    """The part after the slash."""
    return to.partition("/")[2]


def partition_of(to: str, partitions: int) -> int:
    """The partition, 0 ≤ p < partitions, that holds this actor. Stable across processes and releases."""
    return zlib.crc32(to.encode()) % partitions


def keyed_operation(project: str, user: str, method: str, path: str, key: str) -> OperationId:
    """The operation a client's idempotency key stands for: the same request is the same operation."""
    return OperationId(str(uuid.uuid5(_OPERATION_SPACE, f"{project}\0{user}\0{method}\0{path}\0{key}")))


def derived(operation: str, name: str) -> str:
    """A UUID that a repetition of the same operation derives again (ids of what it creates)."""
    return str(uuid.uuid5(uuid.UUID(operation), name))
