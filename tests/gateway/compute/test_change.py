from typing import Any

import pytest
from msgspec.structs import replace

from actors.instance.model import V
from gateway.compute.server.action import ACTIONS, NOT_YET
from protocol.guest import PowerState
from protocol.instance import DeleteInstance, HardRebootInstance, RebootInstance, UpdateInstance
from tests.gateway.compute.cloud import Compute


async def act(compute: Compute, server: str, name: str, argument: Any = None, **call: Any) -> tuple[int, Any]:
    return await compute.call("POST", f"/servers/{server}/action", {name: argument}, **call)


async def field(compute: Compute, server: str, name: str) -> Any:
    return (await compute.call("GET", f"/servers/{server}"))[1]["server"][name]


async def test_others_do_not_see_it(compute: Compute) -> None:
    server = await compute.boot()
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/metadata"), ("GET", "/os-instance-actions")):
        status, answer = await compute.call(method, f"/servers/{server}{path}", who="other")
        assert (status, answer["itemNotFound"]["message"]) == (404, f"Instance {server} could not be found.")
    assert (await act(compute, server, "os-stop", who="other"))[0] == 404
    assert (await compute.call("GET", f"/servers/{server}", who="admin"))[0] == 200
    assert (await compute.call("GET", "/servers/nonsense"))[0] == 404


async def test_a_reader_looks_and_does_not_touch(compute: Compute) -> None:
    server = await compute.boot()
    assert (await compute.call("GET", f"/servers/{server}", who="reader"))[0] == 200
    assert (await compute.call("DELETE", f"/servers/{server}", who="reader"))[0] == 403
    assert (await act(compute, server, "os-stop", who="reader"))[0] == 403
    assert (await act(compute, server, "os-getConsoleOutput", {}, who="reader"))[0] == 200


async def test_an_update_is_answered_with_what_it_made(compute: Compute) -> None:
    server = await compute.boot(description="old")
    status, answer = await compute.call(
        "PUT",
        f"/servers/{server}",
        {
            "server": {
                "name": "new",
                "accessIPv6": "::babe:220.12.22.2",
                "accessIPv4": "192.0.2.1",
                "hostname": "h2",
                "description": None,
            }
        },
    )
    shown = answer["server"]
    assert (status, shown["name"], shown["accessIPv4"], shown["description"]) == (
        200,
        "new",
        "192.0.2.1",
        None,
    )
    assert (shown["OS-EXT-SRV-ATTR:hostname"], shown["accessIPv6"]) == ("h2", "::babe:dc0c:1602")
    status, answer = await compute.call("PUT", f"/servers/{server}", {"server": {}})
    assert (status, answer["server"]["name"]) == (200, "new")
    assert sum(isinstance(message, UpdateInstance) for _, message, _ in compute.actors.sent) == 1
    status, _ = await compute.call(
        "PUT", f"/servers/{server}", {"server": {"description": "x"}}, version="2.18"
    )
    assert status == 400


async def test_delete_is_accepted_and_said_again(compute: Compute) -> None:
    server = await compute.boot()
    for _ in range(2):
        assert await compute.call("DELETE", f"/servers/{server}") == (204, None)
    assert await field(compute, server, "OS-EXT-STS:task_state") == "deleting"
    assert (await act(compute, server, "forceDelete"))[0] == 202
    assert isinstance(compute.actors.sent[-1][1], DeleteInstance)


async def test_the_state_machine_refuses_with_409(compute: Compute) -> None:
    server = await compute.boot()
    status, answer = await act(compute, server, "os-start")
    assert status == 409
    message = answer["conflictingRequest"]["message"]
    assert message == f"Cannot 'start' instance {server} while it is in vm_state active"
    assert (await act(compute, server, "pause"))[0] == 202
    status, answer = await act(compute, server, "os-stop")
    assert (status, "task_state pausing" in answer["conflictingRequest"]["message"]) == (409, True)


async def test_reboots_are_two_commands(compute: Compute) -> None:
    server = await compute.boot()
    assert (await act(compute, server, "reboot", {"type": "Soft"}))[0] == 202
    assert isinstance(compute.actors.sent[-1][1], RebootInstance)
    assert await field(compute, server, "status") == "REBOOT"
    assert (await act(compute, server, "reboot", {"type": "HARD"}))[0] == 202
    assert isinstance(compute.actors.sent[-1][1], HardRebootInstance)
    assert (await act(compute, server, "reboot", {"type": "warm"}))[0] == 400
    assert (await act(compute, server, "reboot"))[0] == 400


async def test_a_lock_holds_back_all_but_admins(compute: Compute) -> None:
    server = await compute.boot()
    assert (await act(compute, server, "lock", {"locked_reason": "mine"}))[0] == 202
    assert await field(compute, server, "locked_reason") == "mine"
    status, answer = await act(compute, server, "os-stop")
    assert (status, "locked" in answer["conflictingRequest"]["message"]) == (409, True)
    assert (await compute.call("GET", "/servers?locked=true"))[1]["servers"][0]["id"] == server
    assert (await act(compute, server, "os-stop", who="admin"))[0] == 202
    assert (await act(compute, server, "unlock"))[0] == 202
    assert (await act(compute, server, "lock", {"locked_reason": "x"}, version="2.72"))[0] == 400
    assert (await act(compute, server, "lock", who="admin"))[0] == 202
    assert (await act(compute, server, "unlock"))[0] == 403


@pytest.mark.parametrize("name", sorted(NOT_YET))
async def test_actions_to_come_say_so(compute: Compute, name: str) -> None:
    first, last = NOT_YET[name]
    status, answer = await act(compute, await compute.boot(), name, {}, version=f"2.{first}")
    assert (status, name in answer["notImplemented"]["message"]) == (501, True)
    if last < 100:
        assert (await act(compute, await compute.boot(), name, {}))[0] == 404


async def test_actions_that_are_none(compute: Compute) -> None:
    server = await compute.boot()
    assert (await act(compute, server, "explode"))[0] == 400
    assert (await compute.call("POST", f"/servers/{server}/action", {}))[0] == 400
    both = {"pause": None, "unpause": None}
    assert (await compute.call("POST", f"/servers/{server}/action", both))[0] == 400
    assert not set(ACTIONS) & set(NOT_YET)


async def test_an_action_with_a_key_is_done_once(compute: Compute) -> None:
    server = await compute.boot()
    assert (await act(compute, server, "os-stop", Idempotency_Key="s"))[0] == 202
    await compute.actors.settle(server, vm_state=V.STOPPED, power_state=PowerState.SHUTDOWN)
    sent = len(compute.actors.sent)
    assert (await act(compute, server, "os-stop", Idempotency_Key="s"))[0] == 202
    assert len(compute.actors.sent) == sent
    assert (await act(compute, server, "os-start", Idempotency_Key="s"))[0] == 409


async def test_the_console_shows_its_last_lines(compute: Compute) -> None:
    server = await compute.boot()
    status, answer = await act(compute, server, "os-getConsoleOutput", {"length": 2})
    assert (status, answer) == (200, {"output": "line 20\n"})
    assert len((await act(compute, server, "os-getConsoleOutput", {"length": "-1"}))[1]["output"]) > 100
    assert (await act(compute, server, "os-getConsoleOutput", {"length": -2}))[0] == 400
    assert (await act(compute, server, "os-getConsoleOutput", {"lines": 2}))[0] == 400
    waiting = await compute.boot(settled=False)
    assert (await act(compute, waiting, "os-getConsoleOutput", {}))[0] == 409


async def test_metadata_is_merged_replaced_and_taken_away(compute: Compute) -> None:
    path = f"/servers/{await compute.boot(metadata={'a': '1'})}/metadata"
    assert await compute.call("POST", path, {"metadata": {"b": "2"}}) == (
        200,
        {"metadata": {"a": "1", "b": "2"}},
    )
    assert await compute.call("PUT", f"{path}/a", {"meta": {"a": "3"}}) == (200, {"meta": {"a": "3"}})
    assert await compute.call("GET", f"{path}/a") == (200, {"meta": {"a": "3"}})
    assert await compute.call("DELETE", f"{path}/a") == (204, None)
    assert await compute.call("GET", path) == (200, {"metadata": {"b": "2"}})
    assert (await compute.call("DELETE", f"{path}/a"))[0] == 404
    assert (await compute.call("PUT", f"{path}/a", {"meta": {"b": "3"}}))[0] == 400
    assert (await compute.call("PUT", path, {"metadata": {f"k{n}": "" for n in range(129)}}))[0] == 403
    assert await compute.call("PUT", path, {"metadata": {}}) == (200, {"metadata": {}})


async def test_a_race_for_metadata_is_a_conflict(compute: Compute) -> None:
    server = await compute.boot(metadata={"a": "1"})
    vm = compute.actors.states[f"instance/{server}"]
    compute.actors.states[f"instance/{server}"] = vm.but(request=_with(vm, metadata={"a": "2"}))
    status, answer = await compute.call("POST", f"/servers/{server}/metadata", {"metadata": {"b": "2"}})
    assert (status, list(answer)) == (409, ["conflictingRequest"])


def _with(vm: Any, **changes: Any) -> Any:
    return replace(vm.request, **changes)


async def test_tags(compute: Compute) -> None:
    path = f"/servers/{await compute.boot()}/tags"
    assert await compute.call("PUT", f"{path}/red", None) == (201, None)
    assert compute.headers["Location"].endswith(f"{path}/red")
    assert await compute.call("PUT", f"{path}/red", None) == (204, None)
    assert await compute.call("GET", f"{path}/red") == (204, None)
    assert (await compute.call("GET", f"{path}/blue"))[0] == 404
    assert await compute.call("PUT", path, {"tags": ["b", "a", "b"]}) == (200, {"tags": ["a", "b"]})
    assert await compute.call("DELETE", f"{path}/a") == (204, None)
    assert await compute.call("GET", path) == (200, {"tags": ["b"]})
    assert await compute.call("DELETE", path) == (204, None)
    assert (await compute.call("PUT", path, {"tags": ["a/b"]}))[0] == 400
    assert (await compute.call("PUT", path, {"tags": [str(n) for n in range(51)]}))[0] == 400
    assert (await compute.call("GET", path, version="2.25"))[0] == 404


async def test_what_belongs_to_a_server(compute: Compute) -> None:
    path = f"/servers/{await compute.boot()}"
    status, interfaces = await compute.call("GET", f"{path}/os-interface")
    card = interfaces["interfaceAttachments"][0]
    assert (status, card["port_state"], len(card["fixed_ips"])) == (200, "ACTIVE", 1)
    assert (await compute.call("GET", f"{path}/os-interface/{card['port_id']}"))[1][
        "interfaceAttachment"
    ] == card
    status, addresses = await compute.call("GET", f"{path}/ips")
    assert addresses["addresses"]["shared"] == [{"version": 4, "addr": card["fixed_ips"][0]["ip_address"]}]
    assert (await compute.call("GET", f"{path}/ips/mars"))[0] == 404
    assert await compute.call("GET", f"{path}/os-volume_attachments") == (200, {"volumeAttachments": []})
    assert (await compute.call("GET", f"{path}/os-volume_attachments/x"))[0] == 404
    assert await compute.call("GET", f"{path}/os-server-password") == (200, {"password": ""})
    assert await compute.call("DELETE", f"{path}/os-server-password") == (204, None)
    assert (await compute.call("POST", f"{path}/os-interface", {}))[0] == 501
    assert (await compute.call("GET", f"{path}/diagnostics"))[0] == 403
    assert (await compute.call("GET", f"{path}/diagnostics", who="admin"))[0] == 501


async def test_the_action_log_tells_who_did_what(compute: Compute) -> None:
    server = await compute.boot()
    await act(compute, server, "os-stop")
    request = compute.headers["x-compute-request-id"]
    _, listed = await compute.call("GET", f"/servers/{server}/os-instance-actions")
    assert [one["action"] for one in listed["instanceActions"]] == ["stop", "create"]
    _, shown = await compute.call("GET", f"/servers/{server}/os-instance-actions/{request}")
    action = shown["instanceAction"]
    assert (action["user_id"], action["events"][0]["event"]) == ("u1", "compute_powering_off")
    assert "traceback" not in action["events"][0]
    assert (
        "events"
        not in (
            await compute.call("GET", f"/servers/{server}/os-instance-actions/{request}", version="2.50")
        )[1]["instanceAction"]
    )
    assert (await compute.call("GET", f"/servers/{server}/os-instance-actions/req-x"))[0] == 404
    first = await compute.call("GET", f"/servers/{server}/os-instance-actions?limit=1")
    assert first[1]["links"][0]["rel"] == "next"
    second = await compute.call("GET", f"/servers/{server}/os-instance-actions?limit=1&marker={request}")
    assert [one["action"] for one in second[1]["instanceActions"]] == ["create"]
    assert (await compute.call("GET", f"/servers/{server}/os-instance-actions?colour=1"))[0] == 400


async def test_deleted_servers_keep_their_log_from_2_21(compute: Compute) -> None:
    server = await compute.boot()
    await compute.actors.settle(server, vm_state=V.DELETED, life="gone", deleted_at=2e9)
    assert (await compute.call("GET", f"/servers/{server}/os-instance-actions"))[0] == 200
    assert (await compute.call("GET", f"/servers/{server}/os-instance-actions", version="2.20"))[0] == 404
