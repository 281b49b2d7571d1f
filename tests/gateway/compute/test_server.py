from tests.gateway.compute.cloud import IMAGE_ID, Compute


async def test_a_server_is_created_shown_and_listed(compute: Compute) -> None:
    status, made = await compute.call(
        "POST",
        "/servers",
        {"server": {"name": "web", "flavorRef": "1", "imageRef": IMAGE_ID, "networks": "auto"}},
    )
    assert status == 202, made
    server = made["server"]["id"]
    assert compute.headers["Location"].endswith(f"/compute/v2.1/servers/{server}")
    assert len(made["server"]["adminPass"]) == 12
    status, shown = await compute.call("GET", f"/servers/{server}")
    assert status == 200
    assert (shown["server"]["status"], shown["server"]["OS-EXT-STS:task_state"]) == ("BUILD", "scheduling")
    await compute.actors.settle(server)
    status, listed = await compute.call("GET", "/servers/detail")
    assert status == 200
    assert [one["status"] for one in listed["servers"]] == ["ACTIVE"]
    assert listed["servers"][0]["addresses"]["shared"][0]["addr"].startswith("10.20.")
