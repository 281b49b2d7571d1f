"""``python -m tests.chaos``: load, faults, then the invariants. Prints what it did and what it found.

Exit status 1 when an invariant is broken or fewer than ``--in-flight`` requests were under way when a
fault struck.
"""

import argparse
import asyncio
import sys
import time
import uuid

import asyncpg

from tests.chaos.audit import unsettled, violations
from tests.chaos.events import Subscriber
from tests.chaos.faults import Faults
from tests.chaos.load import FLAVOR, Client, Tenants
from tests.fixtures.proxy import Proxy
from tests.rig.cloud import DistributedCloud

SETTLE_MAX_S = 180.0


async def _image(database: str, project: str) -> str:
    """An image that simulated hosts need not download: a row is all they ask for."""
    from actors.image.kind import Image, columns
    from protocol.ids import address, partition_of
    from protocol.image import ImageRecord

    import msgspec

    image = Image(
        id=str(uuid.uuid4()), life="active", version=1, owner=project, size_bytes=1, md5="0" * 32, sha512="0" * 128,
        location="none", record=ImageRecord(name="chaos", disk_format="qcow2", container_format="bare"),
    )  # fmt: skip
    connection = await asyncpg.connect(database)
    try:
        places = ", ".join(f"${n}" for n in range(1, 7 + len(columns(image))))
        await connection.execute(
            f"INSERT INTO image.image VALUES ({places})", image.id, partition_of(address("image", image.id), 16), 1,
            msgspec.json.encode(image).decode(), None, False, *columns(image),
        )  # fmt: skip
    finally:
        await connection.close()
    return image.id


async def run(seconds: float, tenants: int, seed: int, only: str) -> int:
    loop = asyncio.get_running_loop()
    proxy = Proxy()
    cloud = DistributedCloud(
        hosts=6,
        agents=2,
        schedulers=2,
        host_options=("latency_factor=0.5", "vcpus=64", "memory_mib=262144"),
        amqp_port=lambda port: asyncio.run_coroutine_threadsafe(
            proxy.start("127.0.0.1", port), loop
        ).result(),
        small_disk_mib=16,
    )
    try:
        await asyncio.to_thread(cloud.start)
        return await _storm(cloud, proxy, seconds, tenants, seed, only)
    finally:
        await proxy.close()
        await asyncio.to_thread(cloud.close)


async def _storm(  # noqa: PLR0913
    cloud: DistributedCloud, proxy: Proxy, seconds: float, tenants: int, seed: int, only: str
) -> int:
    secrets = cloud.secrets()
    client = Client(cloud.ports, "admin", secrets.admin_password, "admin")
    await client.log_in()
    await client.call(
        "PUT",
        f"/compute/v2.1/os-quota-sets/{client.project}",
        {"quota_set": {"instances": -1, "cores": -1, "ram": -1}},
    )
    status, answer = await client.call("POST", "/compute/v2.1/flavors", {"flavor": FLAVOR})
    load = Tenants(client, await _image(cloud.database, client.project), seed)
    load.flavor = answer["flavor"]["id"]
    subscriber = Subscriber(cloud.ports, client)
    listening = asyncio.create_task(subscriber.run())
    working = [asyncio.create_task(load.one(n)) for n in range(tenants)]
    await asyncio.sleep(3)
    least = await _strike(cloud, proxy, load, seconds, only)
    load.stopping = True
    await asyncio.gather(*working)
    settled_s = await _settle(cloud.database)
    await subscriber.wait_for(cloud.database)
    listening.cancel()
    found = await violations(cloud.database, cloud.folder / "hosts", load.asked)
    found += await subscriber.violations(cloud.database)
    found += load.refused
    await client.close()
    print(
        f"created {load.created}, deleted {load.deleted}, repeated requests {client.retries}, least in flight at a"
        f" fault {least}, settled after {settled_s:.1f} s, events {subscriber.count}, violations {len(found)}"
    )
    for line in found[:40]:
        print("  ", line)
    if found:
        for name in cloud.processes:
            print(f"--- {name}\n{cloud.log_of(name)[-1500:]}")
    return 1 if found or least < min(50, tenants // 2) else 0


async def _strike(cloud: DistributedCloud, proxy: Proxy, load: Tenants, seconds: float, only: str) -> int:
    least = 1_000_000
    faults = [fault for fault in Faults(cloud, proxy).all() if only in fault[0]]
    pause = max(1.0, seconds / (len(faults) + 1) - 4.0)
    for name, strike in faults:
        await asyncio.sleep(pause)
        least = min(least, load.in_flight)
        before = load.created
        began = time.monotonic()
        await strike()
        print(
            f"{name}: {time.monotonic() - began:.1f} s, {load.created - before} creates accepted meanwhile",
            flush=True,
        )
    await asyncio.sleep(pause)
    return least


async def _settle(database: str) -> float:
    began = time.monotonic()
    while time.monotonic() - began < SETTLE_MAX_S:
        if await unsettled(database) == 0:
            break
        await asyncio.sleep(0.5)
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser("chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--tenants", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="only faults whose name contains this")
    given = parser.parse_args()
    sys.exit(asyncio.run(run(given.seconds, given.tenants, given.seed, given.only)))


if __name__ == "__main__":
    main()
