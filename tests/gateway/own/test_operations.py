"""Operations: seen by their project and by admins, newest first, in pages."""

from typing import Any

from store.pool import Pool
from tests.gateway.own.conftest import Log


async def operation(
    pool: Pool, ident: str, *, project: str = "p1", began: float = 1.0, ended: float = 0.0
) -> None:
    async with pool.acquire() as c:
        await c.execute(
            "INSERT INTO runtime.operation"
            " VALUES ($1, 'instance/i1', 'stop', $2, 'u1', 'req-1', $3, $3, 60, $4, $5, '', $6)",
            *(ident, project, began, ended, "success" if ended else "", '[{"name":"powering-off"}]'),
        )


async def get(log: Log, path: str, who: str = "ann") -> tuple[int, Any]:
    async with log.session.get(f"/v1/operations{path}", headers={"X-Auth-Token": who}) as response:
        return response.status, await response.json()


async def test_an_operation_is_shown_step_by_step(log: Log) -> None:
    await operation(log.pool, "o1")
    status, body = await get(log, "/o1")
    assert status == 200
    assert body["operation"] == {
        "id": "o1",
        "subject": "instance/i1",
        "name": "stop",
        "project_id": "p1",
        "user_id": "u1",
        "request_id": "req-1",
        "outcome": "running",
        "reason": None,
        "began_at": "1970-01-01T00:00:01.000Z",
        "updated_at": "1970-01-01T00:00:01.000Z",
        "deadline": "1970-01-01T00:01:00.000Z",
        "finished_at": None,
        "steps": [{"name": "powering-off"}],
    }
    assert (await get(log, "/o1", "bob"))[0] == 404
    assert (await get(log, "/o1", "root"))[0] == 200
    assert (await get(log, "/nope"))[0] == 404


async def test_operations_of_a_subject_newest_first_in_pages(log: Log) -> None:
    for n in range(5):
        await operation(log.pool, f"o{n}", began=float(n // 2 + 1), ended=9.0)
    await operation(log.pool, "other", project="p2", began=99.0)
    seen: list[str] = []
    marker = ""
    while True:
        _, body = await get(log, f"?subject=instance/i1&limit=2{marker}")
        seen += [row["id"] for row in body["operations"]]
        if "next_marker" not in body:
            break
        marker = f"&marker={body['next_marker']}"
    assert seen == ["o4", "o3", "o2", "o1", "o0"]
    _, body = await get(log, "?subject=instance/i1", "root")
    assert body["operations"][0]["id"] == "other"
    assert (await get(log, ""))[0] == 400
    assert (await get(log, "?subject=instance/i1&limit=0"))[0] == 400


async def test_what_others_did_to_a_projects_server_is_seen_by_it(log: Log) -> None:
    await operation(log.pool, "o1", project="admins")
    assert (await get(log, "/o1"))[0] == 404
    async with log.pool.acquire() as c:
        await c.execute(
            "INSERT INTO compute.instance (id, partition, version, state, gone, project_id, user_id, name,"
            " hostname, vm_state, status, power_state, flavor_id, locked, created_at, updated_at, view)"
            " VALUES ('i1', 0, 1, '{}', false, 'p1', 'u1', 'n', 'n', 'active', 'ACTIVE', 1, '1', false, 1, 1,"
            " '{}')"
        )
    assert (await get(log, "/o1"))[0] == 200
    assert (await get(log, "/o1", "bob"))[0] == 404
    _, body = await get(log, "?subject=instance/i1")
    assert [row["id"] for row in body["operations"]] == ["o1"]
