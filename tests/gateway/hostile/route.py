"""The route tables as a list of places to attack: every row of every API, its parameters filled in.

A path parameter is known by the segment before it (``servers/{server_id}`` is ``compute:servers``); a cloud's
``things`` say what is there.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise

import pytest
from msgspec import Struct

from gateway.apis import APIS
from gateway.route import Api, Route

IN_PROJECT = "/v2.1/{project_id}"
"""The second form of every compute path."""


class Place(Struct, frozen=True):
    """One row of one API."""

    api: Api
    route: Route

    @property
    def name(self) -> str:
        """``POST /compute/v2.1/servers``; the form with a project in its path has the name of the other."""
        path = self.route.path
        if self.is_project_form:
            path = "/v2.1" + path.removeprefix(IN_PROJECT)
        return f"{self.route.method} {self.api.prefix}{path}"

    @property
    def is_project_form(self) -> bool:
        return self.api.name == "compute" and self.route.path.startswith(IN_PROJECT + "/")

    @property
    def parameters(self) -> list[str]:
        """The keys of its path parameters among the things."""
        segments = self.route.path.split("/")
        return [
            f"{self.api.name}:{before}" for before, segment in pairwise(segments) if segment.startswith("{")
        ]

    def target(self, things: Mapping[str, str]) -> str:
        """The path with these things."""
        filled: list[str] = []
        before = ""
        for segment in self.route.path.split("/"):
            if segment.startswith("{"):
                key = f"{self.api.name}:{before}"
                if key not in things:
                    pytest.fail(f"{self.name}: say in tests/gateway/hostile/furnish.py what {key} is")
                filled.append(things[key])
            else:
                filled.append(segment)
            before = segment
        return self.api.prefix + "/".join(filled)


def places(*, both_forms: bool = False) -> Iterator[Place]:
    """Every row. Compute has each twice; once is enough unless the form matters."""
    for api in APIS:
        for route in api.routes:
            place = Place(api, route)
            if both_forms or not place.is_project_form:
                yield place
