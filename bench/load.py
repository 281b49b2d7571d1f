"""Closed loop: so many instances at once, each created, paused, unpaused and deleted, over and over.

A step follows the guest's answer after ``THINK_S``; a command refused because the answer has not been
heard yet is said again after the same time.
"""

import asyncio
from typing import Final

from msgspec import Struct

from bench.players import Players
from process.clock import Clock
from protocol.instance import DeleteInstance, PauseInstance, UnpauseInstance

THINK_S: Final = 0.2
TRANSITIONS_PER_LIFE: Final = 15
"""Create 6 (with project and host), pause 2, unpause 2, delete 5."""


class Life(Struct):
    """One instance of the load and the step it is at."""

    project: str
    instance: str
    step: str = "create"


class Load:
    """Keeps ``instances`` lives going through the players."""

    def __init__(self, players: Players, clock: Clock, *, instances: int) -> None:
        self._players, self._clock, self._count = players, clock, instances
        self._lives: dict[str, Life] = {}
        self._operations: dict[str, Life] = {}
        self.lives = 0
        self.refused = 0
        self.created = 0
        players.on_answer = self._answer
        players.on_guest = self._guest

    def start(self) -> None:
        """Begin the first lives, spread over the think time."""
        loop = asyncio.get_running_loop()
        for n in range(self._count):
            loop.call_later(n * THINK_S * 4 / self._count, self._begin)

    def _begin(self) -> None:
        projects = self._players.projects
        life = Life(projects[self.created % len(projects)], self._clock.uuid())
        self.created += 1
        self._lives[life.instance] = life
        self._say(life)

    def _say(self, life: Life) -> None:
        operation = self._clock.uuid()
        self._operations[operation] = life
        if life.step == "create":
            self._players.create(life.project, life.instance, operation)
        else:
            self._players.act(_COMMANDS[life.step], life.project, life.instance, operation)

    def _answer(self, operation: str, code: str) -> None:
        life = self._operations.pop(operation, None)
        if life is not None and code:
            self.refused += 1
            asyncio.get_running_loop().call_later(THINK_S, self._say, life)

    def _guest(self, instance: str, order: str) -> None:
        life = self._lives.get(instance)
        if life is None:
            return
        following = _NEXT.get((life.step, order))
        if following is None:
            return
        life.step = following
        if following == "gone":
            del self._lives[instance]
            self.lives += 1
            asyncio.get_running_loop().call_later(THINK_S, self._begin)
        else:
            asyncio.get_running_loop().call_later(THINK_S, self._say, life)


_COMMANDS: Final = {"pause": PauseInstance, "unpause": UnpauseInstance, "delete": DeleteInstance}
_NEXT: Final = {
    ("create", "instance.spawn_guest"): "pause",
    ("pause", "instance.pause_guest"): "unpause",
    ("unpause", "instance.unpause_guest"): "delete",
    ("delete", "instance.destroy_guest"): "gone",
}
