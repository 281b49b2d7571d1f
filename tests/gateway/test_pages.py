"""Paging and sorting on their own."""

import pytest
from multidict import MultiDict

from gateway.pages import Page, SortKey, limit_in, page_in, query_after, sort_in
from gateway.problem import Problem

DEFAULT = (SortKey("created_at", descending=True), SortKey("id", descending=True))
ALLOWED = ("created_at", "id", "name")


@pytest.mark.parametrize(
    ("text", "limit"), [(None, 1000), ("5", 5), ("0", 1000), ("1001", 1000), ("9" * 40, 1000), ("1000", 1000)]
)
def test_limits(text: str | None, limit: int) -> None:
    assert limit_in(MultiDict({} if text is None else {"limit": text})) == limit


@pytest.mark.parametrize("text", ["-1", "x", "", "1.5", "٣", "1 "])
def test_a_limit_is_a_whole_number(text: str) -> None:
    with pytest.raises(Problem):
        limit_in(MultiDict({"limit": text}))


def test_zero_is_what_the_api_says_it_is() -> None:
    assert limit_in(MultiDict({"limit": "0"}), zero=0) == 0


def test_both_notations_of_sorting() -> None:
    pairs = MultiDict([("sort_key", "name"), ("sort_dir", "asc"), ("sort_key", "id")])
    assert sort_in(pairs, ALLOWED, DEFAULT) == (SortKey("name", False), SortKey("id", True))
    assert sort_in(MultiDict(sort="name:desc,id"), ALLOWED, DEFAULT) == (
        SortKey("name", True),
        SortKey("id", True),
    )
    assert sort_in(MultiDict(), ALLOWED, DEFAULT) == DEFAULT


def test_a_direction_alone_turns_the_default_round() -> None:
    assert sort_in(MultiDict(sort_dir="asc"), ALLOWED, DEFAULT) == (
        SortKey("created_at", False),
        SortKey("id", False),
    )


@pytest.mark.parametrize(
    "query",
    [
        "sort_key=secret",
        "sort=name:up",
        "sort_key=id&sort_dir=left",
        "sort_dir=asc&sort_dir=asc",
        "sort_dir=left",
        "sort=" + ",".join(["id"] * 9),
    ],
)
def test_bad_sorting(query: str) -> None:
    pairs = MultiDict([part.partition("=")[::2] for part in query.split("&")])
    with pytest.raises(Problem):
        sort_in(pairs, ALLOWED, DEFAULT)


def test_unknown_keys_may_be_ignored() -> None:
    assert sort_in(MultiDict(sort_key="secret"), ALLOWED, DEFAULT, ignore_unknown=True) == DEFAULT


def test_a_page() -> None:
    assert page_in(MultiDict(limit="2", marker="m"), ALLOWED, DEFAULT) == Page(2, "m", DEFAULT)
    with pytest.raises(Problem):
        page_in(MultiDict(marker="m" * 300), ALLOWED, DEFAULT)


def test_the_next_page_keeps_the_rest_of_the_query() -> None:
    query = MultiDict([("name", "a b"), ("marker", "old"), ("limit", "2"), ("tag", "x"), ("tag", "y")])
    assert query_after(query, "ü/1") == "name=a+b&limit=2&tag=x&tag=y&marker=%C3%BC%2F1"
