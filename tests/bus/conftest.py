"""Fixtures of the bus tests."""

from collections.abc import AsyncIterator

import pytest

from tests.bus.harness import AmqpHarness, Harness, MemoryHarness
from tests.fixtures.rabbitmq import Rabbitmq, rabbitmq

__all__ = ["rabbitmq"]


@pytest.fixture(params=["memory", pytest.param("amqp", marks=pytest.mark.rabbitmq)])
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
    """Each twin in turn."""
    made: Harness
    if request.param == "memory":
        made = MemoryHarness()
    else:
        broker: Rabbitmq = request.getfixturevalue("rabbitmq")
        made = AmqpHarness(broker)
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def amqp(rabbitmq: Rabbitmq) -> AsyncIterator[AmqpHarness]:
    """The RabbitMQ twin alone."""
    made = AmqpHarness(rabbitmq)
    try:
        yield made
    finally:
        await made.close()
