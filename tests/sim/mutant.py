"""Mutants: the cloud with one check removed, to prove that the simulation would notice.

Each is a small patch by name of the real code, applied for the length of a ``with``. What the patch
leaves out is said in its docstring; ``SEEDS`` in ``test_mutants`` says where each is found.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import actors.host.kind
import actors.instance.kind
import actors.instance.operations.create
import actors.instance.operations.delete
import actors.machine
import actors.project.kind
import hostagent.agent
import hostagent.orders
from actors.machine import Decision, Kind
from actors.runtime.draft import Draft
from actors.runtime.holding import Held
from actors.runtime.stream import Streams
from actors.runtime.worker import Worker
from hostagent.journal import MemoryJournal
from hostagent.orders import Verdict
from msgspec.structs import force_setattr
from store.memory import MemoryDatabase, MemoryTurnStore

Mutant = Callable[[contextlib.ExitStack], None]
MUTANTS: Final[dict[str, Mutant]] = {}


def _mutant(patch: Mutant) -> Mutant:
    MUTANTS[patch.__name__] = patch
    return patch


@contextlib.contextmanager
def mutated(name: str) -> Iterator[None]:
    """The code with this check removed; unchanged when the name is empty. Raises KeyError."""
    with contextlib.ExitStack() as stack:
        if name:
            MUTANTS[name](stack)
        yield


def _patch(stack: contextlib.ExitStack, owner: Any, name: str, new: Any) -> Any:
    old = getattr(owner, name)
    setattr(owner, name, new)
    stack.callback(setattr, owner, name, old)
    return old


def _patch_row(stack: contextlib.ExitStack, kind: Kind[Any], **changes: Any) -> None:
    for field, value in changes.items():
        stack.callback(force_setattr, kind, field, getattr(kind, field))
        force_setattr(kind, field, value)
