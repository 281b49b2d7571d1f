"""The readers of what clients send, without a server: whatever comes, the answer is a Problem or a value."""

import base64
import json
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict, MultiDict

from gateway.body import JSON_DEPTH_MAX, check_query, decode_json, decoded
from gateway.compute.key import make_certificate, ssh_fingerprint, x509_fingerprint
from gateway.compute.query import time_in, whole_in
from gateway.compute.routes import API as COMPUTE
from gateway.image.listing import filters_in
from gateway.microversion import HEADER, Negotiator
from gateway.origin import Origins
from gateway.pages import SortKey, page_in
from gateway.problem import MESSAGE_LENGTH_MAX, Problem
from gateway.route import unquoted

quickly = settings(max_examples=150, derandomize=True, deadline=None, database=None)

T = TypeVar("T")
ANYTHING = msgspec.json.Decoder(Any)
texts = st.one_of(
    st.text(max_size=40),
    st.text(alphabet=st.characters(codec=None, categories=["Cs", "Cc", "Nd", "Lu"]), max_size=20),
    st.text(alphabet="0123456789-+.:TZ,=/%\\()[]{}*\"' ", max_size=30),
    st.sampled_from(["", "\0", "\ud800", "9" * 400, "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "in:"]),
)
documents = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10) | st.text(alphabet='[]{}"\\a', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('"\\[{', max_size=4), inner, max_size=4)
    ),
    max_leaves=30,
)


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


@quickly
@given(documents, st.integers(0, 40))
def test_nesting_is_counted_exactly(value: Any, wraps: int) -> None:
    for n in range(wraps):
        value = {'a"]}\\': value} if n % 2 else [value, [], "}]"]
    body = json.dumps(value).encode()
    if depth(value) > JSON_DEPTH_MAX:
        with pytest.raises(Problem, match="nests deeper"):
            decode_json(ANYTHING, body)
    else:
        assert decode_json(ANYTHING, body) == value


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 500_000,
        b"[" * 500_000 + b"]" * 500_000,
        b'{"a":' * 100_000,
        b'{"a":' * 90_000 + b"1" + b"}" * 90_000,
    ],
)
def test_a_bottomless_body_is_refused(body: bytes) -> None:
    with pytest.raises(Problem, match="nests deeper"):
        decode_json(ANYTHING, body)


def test_a_nul_is_found_behind_any_number_of_backslashes() -> None:
    for backslashes in range(8):
        body = b'{"a": "' + b"\\" * backslashes + b'u0000"}'
        if backslashes % 2:
            with pytest.raises(Problem, match="NUL"):
                decode_json(ANYTHING, body)
        else:
            decode_json(ANYTHING, body)


def said(read: Callable[[], T], *statuses: int) -> T | None:
    """What was read; None when it was refused with one of these statuses."""
    try:
        return read()
    except Problem as error:
        problem = error
    assert problem.status in statuses
    assert 0 < len(problem.message) <= MESSAGE_LENGTH_MAX
    return None


@quickly
@given(st.binary(max_size=60))
def test_any_bytes_are_a_body_or_a_problem(body: bytes) -> None:
    said(lambda: decode_json(ANYTHING, body), 400)
    said(lambda: decoded(dict[str, int], msgspec.Raw(body)), 400)


@quickly
@given(texts)
def test_any_segment_is_a_parameter_or_not_found(text: str) -> None:
    found = said(lambda: unquoted(text), 404)
    if found is not None:
        found.encode()  # it can be stored
        assert "\0" not in found


@quickly
@given(texts, texts)
def test_any_version_header_is_a_version_or_a_problem(text: str, legacy: str) -> None:
    offered = COMPUTE.versions
    assert offered is not None
    headers = CIMultiDict({HEADER: f"compute {text}", offered.legacy: legacy})
    found = said(lambda: Negotiator(offered).version_of(headers), 400, 406)
    assert found is None or offered.oldest <= found <= offered.newest


@quickly
@given(texts, texts, texts, texts)
def test_any_origin_is_an_url_or_a_problem(host: str, proto: str, forwarded: str, prefix: str) -> None:
    headers = CIMultiDict(
        {
            "Host": host,
            "X-Forwarded-Proto": proto,
            "X-Forwarded-Host": forwarded,
            "X-Forwarded-Prefix": prefix,
        }
    )
    found = said(lambda: Origins(trust_forwarded=True).base_url("http", headers), 400)
    assert found is None or (found.isascii() and found.isprintable())


@quickly
@given(st.dictionaries(st.sampled_from(["limit", "marker", "sort_key", "sort_dir", "sort"]), texts))
def test_any_page_is_a_page_or_a_problem(query: dict[str, str]) -> None:
    default = (SortKey("id", descending=False),)
    page = said(lambda: page_in(MultiDict(query), {"name", "id"}, default), 400)
    assert page is None or 0 <= page.limit <= 1000


@quickly
@given(
    st.dictionaries(
        st.sampled_from(["id", "name", "created_at", "size_min", "tag", "visibility", "x"]), texts
    )
)
def test_any_filter_of_images_is_one_or_a_problem(query: dict[str, str]) -> None:
    said(lambda: filters_in(MultiDict(query)), 400)


@quickly
@given(texts)
def test_any_time_or_number_is_one_or_a_problem(text: str) -> None:
    said(lambda: time_in(text, "x"), 400)
    said(lambda: whole_in(text, "x"), 400)


@quickly
@given(texts)
def test_any_query_is_let_through_or_a_problem(text: str) -> None:
    said(lambda: check_query(MultiDict({"a": text}), f"a={text}"), 400)


@quickly
@given(
    st.sampled_from(
        ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ssh-dss", "sk-ssh-ed25519@openssh.com", "x"]
    ),
    st.binary(max_size=80),
    st.sampled_from([0, 1, 4, 11, 0x7FFFFFFF, 0xFFFFFFFF]),
    texts,
)
def test_any_public_key_has_a_fingerprint_or_is_refused(
    kind: str, blob: bytes, length: int, comment: str
) -> None:
    """The blob begins as one of this kind would, with lengths that lie."""
    named = len(kind).to_bytes(4, "big") + kind.encode() + length.to_bytes(4, "big") + blob
    for data in (blob, named):
        for key in (f"{kind} {base64.b64encode(data).decode()} {comment}", comment):
            with suppress(ValueError):
                ssh_fingerprint(key)


def test_any_certificate_has_a_fingerprint_or_is_refused() -> None:
    """A good one with every byte of it changed in turn, and with less and less of it."""
    good = ssl.PEM_cert_to_DER_cert(make_certificate("ann", 1e9)[1])
    for at in range(len(good)):
        for changed in (good[:at] + bytes([good[at] ^ 0x76]) + good[at + 1 :], good[:at]):
            with suppress(ValueError):
                x509_fingerprint(ssl.DER_cert_to_PEM_cert(changed))


@quickly
@given(texts)
def test_any_text_is_no_certificate(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  whatever it says
        x509_fingerprint(text)
