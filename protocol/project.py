"""What is said to a project's quota ledger."""

from msgspec import Struct

from protocol.command import Command
from protocol.instance import CreateInstance


class QuotaLimits(Struct, frozen=True):
    """The limits as the gateway read them with the request; -1 means unlimited."""

    instances: int = 10
    cores: int = 20
    memory_mib: int = 51200


class ReserveQuota(Command, frozen=True, tag="gateway.reserve_quota"):
    """Take the instance's amounts from the quota and pass ``then`` on to the instance, or refuse."""

    limits: QuotaLimits
    then: CreateInstance
