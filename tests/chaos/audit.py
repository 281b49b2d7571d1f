"""The invariants, read from where the truth is: database, hosts' files, journals."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg

from hostagent.drivers.simulated.disk import read_guests
from protocol.guest import PowerState

HEARD_AFTER_S = 5
_UNHEARD = f"""
SELECT s.source, s.destination, count(*) FROM runtime.segment AS s
JOIN runtime.partition AS d ON d.p = s.destination
WHERE s.last > d.marks[s.source + 1] AND s.made_at < clock_timestamp() - interval '{HEARD_AFTER_S} s'
GROUP BY s.source, s.destination
"""


async def unsettled(database: str) -> int:
    """Instances and operations that are still under way."""
    connection = await asyncpg.connect(database)
    try:
        busy: int = await connection.fetchval(
            "SELECT (SELECT count(*) FROM compute.instance WHERE NOT gone AND task_state IS NOT NULL)"
            " + (SELECT count(*) FROM runtime.operation WHERE finished_at = 0)"
        )
        return busy
    finally:
        await connection.close()


async def violations(database: str, hosts: Path, asked: dict[str, str]) -> list[str]:
    """Everything that is not as it must be when nothing is under way. Empty is good."""
    connection = await asyncpg.connect(database)
    try:
        instances = await connection.fetch("SELECT id, gone, vm_state, state FROM compute.instance")
        ledgers = await connection.fetch("SELECT id, state FROM compute.host")
        projects = await connection.fetch("SELECT id, instances, cores FROM compute.project")
        unheard = await connection.fetch(_UNHEARD)
        parked = await connection.fetch("SELECT address, error FROM runtime.parked")
        events = await connection.fetch(
            "SELECT partition, count(*) AS n, max(n) AS last FROM runtime.event GROUP BY partition"
        )
    finally:
        await connection.close()
    found = [f"parked: {row['address']}: {row['error'][-300:]}" for row in parked]
    found += [
        f"events of partition {r['partition']}: {r['n']} of {r['last']}"
        for r in events
        if r["n"] != r["last"]
    ]
    found += [
        f"{r['count']} messages of partition {r['source']} to {r['destination']} not heard" for r in unheard
    ]
    found += _outcomes({row["id"]: row for row in instances}, asked)
    found += _capacity(instances, ledgers, hosts)
    alive = Counter(json.loads(row["state"])["project"] for row in instances if not row["gone"])
    found += [
        f"project {row['id']}: ledger {row['instances']} ({row['cores']} cores), has {alive[row['id']]}"
        for row in projects
        if not row["instances"] == row["cores"] == alive[row["id"]]
    ]
    return found


def _outcomes(instances: dict[str, Any], asked: dict[str, str]) -> list[str]:
    found = []
    for server, wish in asked.items():
        row = instances.get(server)
        if row is None:
            found.append(f"{server}: accepted and not there")
        elif wish == "gone" and not row["gone"]:
            found.append(f"{server}: was to be gone, is {row['vm_state']}")
        elif wish == "active" and (row["gone"] or row["vm_state"] != "active"):
            found.append(
                f"{server}: was to be active, is {row['vm_state']}: {json.loads(row['state']).get('fault')}"
            )
    found += [f"{server}: there and never accepted" for server in instances if server not in asked]
    return found


def _capacity(instances: list[Any], ledgers: list[Any], hosts: Path) -> list[str]:
    records = {
        (p["host"], row["id"], p["generation"])
        for row in instances
        if not row["gone"]
        for p in json.loads(row["state"])["placements"]
    }
    claims = {
        (row["id"], instance, room["generation"])
        for row in ledgers
        for instance, room in json.loads(row["state"])["claims"].items()
    }
    guests, running = set(), set()
    for file in hosts.glob("*/*/guests.jsonl"):
        host = next(
            line for line in (file.parent / "host.toml").read_text().splitlines() if line.startswith("host =")
        )
        for guest in read_guests(file).values():
            place = (host.split('"')[1], guest.spec.instance, guest.spec.generation)
            guests.add(place)
            if guest.power_state is PowerState.RUNNING:
                running.add(place)
    found = [f"claimed and not recorded: {claim}" for claim in sorted(claims - records)]
    found += [f"recorded and not claimed: {record}" for record in sorted(records - claims)]
    found += [f"guest without a record: {guest}" for guest in sorted(guests - records)]
    found += [f"record without a guest that runs: {record}" for record in sorted(records - running)]
    twice = Counter(instance for _, instance, _ in guests)
    found += [f"guest on {n} hosts: {instance}" for instance, n in twice.items() if n > 1]
    return found
