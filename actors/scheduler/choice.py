"""The choice itself: filter, count the objections, weigh, and draw among the near-best. Pure.

Drawing among near-best hosts keeps several schedulers, each with a slightly old view, from all choosing
the same host. The randomness is passed in.
"""

from collections.abc import Iterable, Mapping
from random import Random
from typing import Final

from actors.scheduler.filters import Filter
from actors.scheduler.weighers import Weigher
from protocol.host import HostView
from protocol.instance import PlaceInstance
from protocol.scheduling import HostRefusal, PlacementProposed

CANDIDATES_MAX: Final = 4
NEAR: Final = 0.05
"""Hosts whose weight is this near to the best are as good as the best."""


def choose(
    request: PlaceInstance,
    hosts: Iterable[HostView],
    filters: Mapping[str, Filter],
    weighers: Mapping[str, tuple[Weigher, float]],
    chance: Random,
) -> PlacementProposed:
    """Up to CANDIDATES_MAX hosts, best first, and per filter how many hosts it refused, with an example."""
    counts: dict[str, int] = {}
    examples: dict[str, str] = {}
    fit: list[tuple[float, HostView]] = []
    considered = 0
    for host in hosts:
        considered += 1
        name, objection = objection_to(request, host, filters)
        if objection:
            counts[name] = counts.get(name, 0) + 1
            examples.setdefault(name, objection)
        else:
            fit.append((sum(weigh(request, host) * factor for weigh, factor in weighers.values()), host))
    fit.sort(key=lambda scored: (-scored[0], scored[1].host))
    best = fit[0][0] if fit else 0.0
    near = [host for score, host in fit if best - score <= NEAR]
    chance.shuffle(near)
    ordered = near + [host for score, host in fit if best - score > NEAR]
    return PlacementProposed(
        instance=request.instance,
        number=request.number,
        hosts=tuple(host.host for host in ordered[:CANDIDATES_MAX]),
        considered=considered,
        refusals=tuple(HostRefusal(name, count, examples[name]) for name, count in counts.items()),
    )


def objection_to(request: PlaceInstance, host: HostView, filters: Mapping[str, Filter]) -> tuple[str, str]:
    """The first filter that objects and what it says; two empty strings when the host fits."""
    for name, objects in filters.items():
        objection = objects(request, host)
        if objection:
            return name, objection
    return "", ""
