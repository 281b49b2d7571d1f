"""Deletion where servers are kept for a while, over HTTP; and os-resetState."""

from collections.abc import AsyncIterator

import pytest

from actors.instance.model import V
from protocol.guest import PowerState
from protocol.instance import DeleteInstance, ResetInstance, RestoreInstance, SoftDeleteInstance
from tests.gateway.compute.cloud import Compute, open_compute
from tests.gateway.compute.test_change import act, field


@pytest.fixture
async def keeping(database: str) -> AsyncIterator[Compute]:
    """A cloud that keeps deleted servers for an hour."""
    async with open_compute(database, reclaim_instance_s=3600.0) as opened:
        yield opened


async def test_a_deleted_server_is_put_aside_and_comes_back(keeping: Compute) -> None:
    server = await keeping.boot()
    assert (await keeping.call("DELETE", f"/servers/{server}"))[0] == 204
    said = keeping.actors.sent[-1][1]
    assert isinstance(said, SoftDeleteInstance)
    assert said.keep_s == 3600
    assert await field(keeping, server, "OS-EXT-STS:task_state") == "soft-deleting"
    await keeping.actors.settle(server, vm_state=V.SOFT_DELETED, power_state=PowerState.SHUTDOWN)
    assert await field(keeping, server, "status") == "SOFT_DELETED"
    assert (await keeping.call("DELETE", f"/servers/{server}"))[0] == 204
    assert keeping.actors.sent[-1][1] is said
    assert (await act(keeping, server, "restore"))[0] == 202
    assert isinstance(keeping.actors.sent[-1][1], RestoreInstance)
    assert (await act(keeping, server, "forceDelete"))[0] == 202
    assert isinstance(keeping.actors.sent[-1][1], DeleteInstance)


async def test_what_never_ran_is_not_kept(keeping: Compute) -> None:
    server = await keeping.boot(settled=False)
    assert (await keeping.call("DELETE", f"/servers/{server}"))[0] == 204
    assert isinstance(keeping.actors.sent[-1][1], DeleteInstance)


async def test_servers_put_aside_are_listed_when_asked_for(keeping: Compute) -> None:
    server, other = await keeping.boot(), await keeping.boot()
    await keeping.actors.settle(server, vm_state=V.SOFT_DELETED)

    async def listed(query: str, who: str = "member") -> set[str]:
        return {one["id"] for one in (await keeping.call("GET", f"/servers?{query}", who=who))[1]["servers"]}

    assert await listed("") == {other}
    assert await listed("status=SOFT_DELETED") == {server}
    assert await listed("all_tenants=1&soft_deleted=1", "admin") == {server, other}


async def test_reset_is_for_admins(compute: Compute) -> None:
    server = await compute.boot()
    wish = {"state": "error"}
    assert (await act(compute, server, "os-resetState", wish))[0] == 403
    assert (await act(compute, server, "os-resetState", wish, who="admin"))[0] == 202
    assert isinstance(compute.actors.sent[-1][1], ResetInstance)
    assert await field(compute, server, "status") == "ERROR"
    assert (await act(compute, server, "os-resetState", {"state": "stopped"}, who="admin"))[0] == 400
    assert (await act(compute, server, "os-resetState", {"state": "active"}, who="admin"))[0] == 202
    _, listed = await compute.call("GET", f"/servers/{server}/os-instance-actions")
    assert [one["action"] for one in listed["instanceActions"]][:2] == ["resetState", "resetState"]
