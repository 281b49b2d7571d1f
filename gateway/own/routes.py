"""Starling's own API as one table: all its rows, and who may do what."""

from typing import Final

from gateway.envelope import own
from gateway.own.events import EventQuery, stream_events
from gateway.own.operations import OperationsQuery, list_operations, show_operation
from gateway.route import Api, Route

RULES: Final = {
    "own:get_events": "admin or project reader",
    "own:get_operations": "admin or project reader",
}

ROUTES: Final[tuple[Route, ...]] = (
    Route("GET", "/events", stream_events, "own:get_events", query=EventQuery),
    Route("GET", "/operations", list_operations, "own:get_operations", query=OperationsQuery),
    Route("GET", "/operations/{operation_id}", show_operation, "own:get_operations"),
)

API: Final = Api(name="starling", prefix="/v1", routes=ROUTES, rules=RULES, envelope=own)
