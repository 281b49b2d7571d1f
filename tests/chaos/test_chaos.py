"""Every fault once, on a smaller crowd than ``make chaos`` has."""

from pathlib import Path

import pytest

from tests.chaos.storm import Plan, storm


@pytest.mark.judge
@pytest.mark.timeout(900)
async def test_no_fault_loses_or_doubles_anything(rabbitmq_programs: Path) -> None:
    plan = Plan(seconds=0, tenants=90)
    report = await storm(plan)
    assert report.violations == []
    assert report.sound(plan), report.in_flight
    assert report.created > 0
