"""The tree of routes on its own."""

import pytest
from msgspec import structs

from gateway.envelope import nova
from gateway.request import Request, Response
from gateway.route import Api, Route, Router, rules_of


async def handler(_: Request) -> Response:
    return Response()


def router(*paths: str) -> Router:
    routes = tuple(Route("GET", path, handler, "r") for path in paths)
    return Router(Api(name="x", prefix="/x", routes=routes, rules={"r": "admin"}, envelope=nova))


TREE = router(
    "/", "/a", "/a/{id}", "/a/{id}/b", "/a/detail", "/a/detail/{x}/c", "/{v}/z", "/o/{container}/{name:path}"
)


@pytest.mark.parametrize(
    ("path", "template", "values"),
    [
        ("", "/", []),
        ("/", "/", []),
        ("/a", "/a", []),
        ("/a/", "/a", []),
        ("/a/7", "/a/{id}", ["7"]),
        ("/a/detail", "/a/detail", []),
        ("/a/detail/b", "/a/{id}/b", ["detail"]),
        ("/a/detail/1/c", "/a/detail/{x}/c", ["1"]),
        ("/a/z", "/a/{id}", ["z"]),
        ("/q/z", "/{v}/z", ["q"]),
        ("/o/c/d/e%2Ff", "/o/{container}/{name:path}", ["c", "d/e%2Ff"]),
    ],
)
def test_found(path: str, template: str, values: list[str]) -> None:
    found = TREE.find(path)
    assert found is not None
    methods, got = found
    assert (methods["GET"][0].route.path, got) == (template, values)


@pytest.mark.parametrize("path", ["/b", "/a/7/c", "/a//b", "//", "/a/7/b/", "/o/c"])
def test_not_found_or_only_with_its_slash(path: str) -> None:
    found = TREE.find(path)
    assert (found is None) == (path != "/a/7/b/")


def test_an_api_may_know_no_final_slashes() -> None:
    strict = Router(structs.replace(TREE.api, final_slash=False))
    assert strict.find("/a/") is not None
    assert strict.find("/a/7") is not None
    assert strict.find("/a/7/") is None
    assert strict.find("/a/7/b/") is None


def test_two_sentences_for_one_rule_are_refused() -> None:
    one, two = (
        Api(name=str(n), prefix=f"/{n}", routes=(), rules={"r": sentence}, envelope=nova)
        for n, sentence in enumerate(("admin", "public"))
    )
    with pytest.raises(ValueError, match="'r' is defined twice"):
        rules_of([one, two])
