"""Mutants: the cloud with one check removed, to prove that the simulation would notice.

A mutant is an edit of one function's text: it names the function, what stands there and what shall
stand there instead, so it breaks loudly when the code moves on. ``mutated`` compiles the edited text
into the function's own object, which reaches tables and subclasses that hold the function itself.
"""

import contextlib
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any, Final, NamedTuple


class Edit(NamedTuple):
    """In ``module:function``, ``new`` instead of ``old``."""

    where: str
    old: str
    new: str


MUTANTS: Final[dict[str, tuple[Edit, ...]]] = {
    # The store's two checks, and what goes into a commit.
    "no version check": (
        Edit("store.memory:MemoryDatabase.match", "!= row.expected", "!= row.expected and False"),
    ),
    "no epoch check": (
        Edit(
            "store.memory:MemoryDatabase.fence",
            "if (held.owner, held.epoch) != (worker, p.epoch):",
            "if False:",
        ),
    ),
    "takeover keeps the epoch": (
        Edit("store.memory:MemoryTurnStore.take", "held.epoch + 1", "max(held.epoch, 1)"),
    ),
    "marks are not written": (
        Edit("actors.runtime.draft:Draft.finish", "marks.get(p, row.marks)", "row.marks"),
    ),
    "outputs are published before the commit": (
        Edit(
            "actors.runtime.worker:Worker._batch",
            "    if outcome.batch.partitions:\n",
            "    self._send(outcome)\n    if outcome.batch.partitions:\n",
        ),
    ),
    "acknowledged before the commit": (
        Edit(
            "actors.runtime.worker:Worker._batch",
            "    if outcome.batch.partitions:\n",
            "    self._acknowledge()\n    if outcome.batch.partitions:\n",
        ),
    ),
    # Streams between partitions.
    "segments are deleted when published": (
        Edit(
            "store.memory:MemoryTurnStore.collect",
            "self._db.partitions[segment.destination].marks[segment.source]",
            "segment.last",
        ),
    ),
    "repeated numbers are accepted": (
        Edit(
            "actors.runtime.stream:Streams.accept",
            "self.repeated += len(envelopes)\n        return []",
            "return envelopes",
        ),
    ),
    "gaps are overlooked": (
        Edit(
            "actors.runtime.stream:Streams.accept",
            "self.gap = True\n        return []",
            "self._seen[source] = last\n        return envelopes",
        ),
    ),
    "nothing is pulled": (
        Edit(
            "actors.runtime.worker:Worker._pull",
            "for segment in segments:",
            "for segment in segments[:0]:",
        ),
    ),
    # Time and ownership.
    "timers fire at once after a takeover": (
        Edit(
            "actors.runtime.holding:Held.caught_up",
            "if self.behind(now):",
            "if False:",
        ),
    ),
    "no deadline fires": (
        Edit("actors.machine:_tick", "now >= task.deadline", "now >= task.deadline + 1e6"),
    ),
    "commands are not sent again": (
        Edit("actors.machine:_tick", "now >= task.resend_at", "now >= task.resend_at + 1e6"),
    ),
    "a forgotten partition is kept": (
        Edit("actors.runtime.worker:Worker._membership", "await self._give_up(p)", "pass"),
    ),
    "the cache outlives the partition": (
        Edit("actors.runtime.worker:Worker._drop", "del self._cache[key]", "pass"),
    ),
    # Claims, quotas, commands.
    "a failed build's room is not released": (
        Edit("actors.instance.operations.create:_leave", "release(vm, left), ", ""),
    ),
    "quota is not given back": (
        Edit("actors.instance.operations.delete:vanish", "return vm, [", "return vm, [][:0] and ["),
    ),
    "claims are granted without room": (
        Edit("actors.host.model:shortage", "if held + more > total:", "if False:"),
    ),
    "seats are granted against the policy": (
        Edit("actors.group.kind:fits", "return not others or wish.host in others", "return True"),
        Edit("actors.group.kind:fits", "return len(there) < wish.group.per_host", "return True"),
    ),
    "seats are never given back": (
        Edit("actors.host.ledger:_left", "if room is None or not room.seated:", "if True:"),
    ),
    "a begun command is not remembered": (Edit("actors.machine:_begin", "if heard.known:", "if False:"),),
    "a project answers copies itself": (
        Edit("actors.machine:_repeat", "if onward is not None:", "if False:"),
    ),
    "the first refusal is believed": (
        Edit("gateway.bus_commands:BusCommands._resolve", "if asked.refusals < asked.copies:", "if False:"),
    ),
    # What instances believe.
    "answers of earlier steps count": (
        Edit("actors.machine:_hear", '(heard.operation in {"", task.operation})', "True"),
        Edit(
            "actors.instance.kind:_present",
            "return vm.task is not None and message.number == vm.task.number",
            "return vm.task is not None",
        ),
    ),
    "what was seen before counts": (
        Edit(
            "actors.instance.kind:_outdated", "return seen.exists and seen.after < vm.heard", "return False"
        ),
    ),
    "older sights count": (Edit("actors.instance.kind:_outdated", "seen.sight < vm.sight", "False"),),
    "late reports count": (
        Edit(
            "actors.host.report:fresh",
            "if said.session in host.sessions_before:",
            "return True\n    if False:",
        ),
    ),
    "a busy instance is not told again": (
        Edit("actors.instance.kind:ask_again", "return vm, [", "return vm, [][:0] and ["),
    ),
    # The agent.
    "the journal is not written": (
        Edit("hostagent.journal:MemoryJournal._write", "for change in changes:", "for change in ():"),
    ),
    "acts before the journal": (
        Edit(
            "hostagent.agent:Agent._accept",
            "    try:\n        await self._journal.record(entry)",
            "    self._hand_over(order)\n    try:\n        await self._journal.record(entry)",
        ),
    ),
    "lower numbers are obeyed": (
        Edit("hostagent.orders:judge", "order.pair < entry.pair", "order.pair < entry.pair and False"),
        Edit("hostagent.orders:judge", "order.pair > entry.pair", "order.pair != entry.pair"),
    ),
    "tombstones are purged at once": (
        Edit(
            "hostagent.agent:Agent._conclude",
            "    self._answer(order, answer)",
            "    if entry.deleted:\n        await self._journal.purge(entry.instance)\n"
            "    self._answer(order, answer)",
        ),
    ),
}
"""Every mutant, by what is wrong with it."""


@contextlib.contextmanager
def mutated(name: str) -> Iterator[None]:
    """The code with this mutant's edits; unchanged when the name is empty. Raises KeyError, LookupError."""
    edited: list[tuple[FunctionType, CodeType]] = []
    try:
        edits = MUTANTS[name] if name else ()
        for where in dict.fromkeys(edit.where for edit in edits):
            function = _function(where)
            edited.append((function, function.__code__))
            _rewrite(function, [edit for edit in edits if edit.where == where])
        yield
    finally:
        for function, code in reversed(edited):
            function.__code__ = code


def _function(where: str) -> FunctionType:
    module, _, path = where.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    if not isinstance(found, FunctionType):
        raise TypeError(f"{where} is no function")
    return found


def _rewrite(function: FunctionType, edits: list[Edit]) -> None:
    text = textwrap.dedent(inspect.getsource(function))
    for edit in edits:
        if text.count(edit.old) != 1:
            raise LookupError(f"{edit.where} has {text.count(edit.old)} times: {edit.old}")
        text = text.replace(edit.old, edit.new)
    code = compile(text, f"<{edits[0].where}>", "exec", dont_inherit=True)
    scope: dict[str, Any] = {}
    exec(code, function.__globals__, scope)  # noqa: S102  our own text
    function.__code__ = scope[function.__name__].__code__
