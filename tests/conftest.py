"""Fixtures for every test: private servers, started only when a test asks for them."""

from typing import Final

import pytest

from tests.fixtures.postgres import database, postgres, postgres_url
from tests.fixtures.rabbitmq import rabbitmq, rabbitmq_programs

__all__ = ["database", "postgres", "postgres_url", "rabbitmq", "rabbitmq_programs"]


_MARKS: Final = {"postgres": "postgres", "rabbitmq_programs": "rabbitmq", "libvirtd_uri": "libvirt"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a server by the fixtures it asks for: ``-m "not rabbitmq"`` leaves those out."""
    for item in items:
        for fixture in _MARKS.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(_MARKS[fixture])
