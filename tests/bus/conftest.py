"""Fixtures of the bus tests."""

from tests.fixtures.rabbitmq import rabbitmq

__all__ = ["rabbitmq"]
