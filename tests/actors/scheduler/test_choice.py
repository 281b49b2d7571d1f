"""The choice: up to four hosts, best first, drawn among the near-best, and why the others do not fit."""

from collections import Counter
from random import Random
from typing import Any

from actors.scheduler import filters, weighers
from actors.scheduler.choice import CANDIDATES_MAX, NEAR, choose, objection_to
from protocol.host import HostView
from protocol.scheduling import HostRefusal, PlacementProposed
from tests.actors.scheduler.hosts import host, question


def ask(hosts: list[HostView], *, seed: int = 1, **more: Any) -> PlacementProposed:
    return choose(question(**more), hosts, filters.DEFAULT, weighers.DEFAULT, Random(seed))


def test_the_answer_names_its_question() -> None:
    answer = ask([host("a")])
    assert (answer.instance, answer.number) == (question().instance, question().number)
    assert (answer.hosts, answer.considered, answer.refusals) == (("a",), 1, ())


def test_best_first() -> None:
    used = {"a": 8192, "b": 0, "c": 12288}
    assert ask([host(name, memory_mib_used=mib) for name, mib in used.items()]).hosts == ("b", "a", "c")


def test_no_more_candidates_than_are_of_use() -> None:
    assert len(ask([host(f"{n}") for n in range(20)]).hosts) == CANDIDATES_MAX


def test_no_host_and_no_hosts() -> None:
    assert ask([]).hosts == ()
    assert ask([host("a", state="down")]).hosts == ()
    assert ask([host("a", state="down")]).considered == 1


def test_refusals_are_counted_by_the_first_filter_that_objects_with_an_example() -> None:
    hosts = [
        host("a", state="down", memory_mib_used=16384),
        host("b", memory_mib_used=16000),
        host("c", memory_mib_used=15999),
        host("d"),
    ]
    answer = ask(hosts)
    assert answer.considered == 4
    assert answer.hosts == ("d",)
    assert answer.refusals == (
        HostRefusal("service", 1, "the host is down"),
        HostRefusal("memory", 2, "384 MiB of memory free, 1024 wanted"),
    )


def test_what_a_verdict_says_about_one_host() -> None:
    assert objection_to(question(), host("a"), filters.DEFAULT) == ("", "")
    assert objection_to(question(refused=("a",)), host("a"), filters.DEFAULT)[0] == "fresh"


def test_the_near_best_are_drawn_and_the_rest_are_not() -> None:
    near = int(16384 * NEAR) - 200
    hosts = [host("a"), host("b", memory_mib_used=near), host("c", memory_mib_used=near + 1000)]
    firsts = Counter(ask(hosts, seed=seed).hosts[0] for seed in range(200))
    assert set(firsts) == {"a", "b"}
    assert min(firsts.values()) > 60
    assert {ask(hosts, seed=seed).hosts[2] for seed in range(50)} == {"c"}


def test_the_same_seed_draws_the_same() -> None:
    hosts = [host(f"{n}") for n in range(20)]
    assert ask(hosts, seed=3) == ask(list(reversed(hosts)), seed=3)
    assert ask(hosts, seed=3) != ask(hosts, seed=4)


def test_a_plug_in_filter_and_weigher_take_part() -> None:
    hosts = [host("a"), host("b"), host("c", memory_mib_used=8192)]
    answer = choose(
        question(),
        hosts,
        {**filters.DEFAULT, "not_a": lambda _, view: "never a" if view.host == "a" else ""},
        {**weighers.DEFAULT, "likes_c": (lambda _, view: float(view.host == "c"), 5.0)},
        Random(1),
    )
    assert answer.hosts == ("c", "b")
    assert answer.refusals == (HostRefusal("not_a", 1, "never a"),)
