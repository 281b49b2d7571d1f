"""Too much of everything: bodies without end, bodies that never come, records that grow by small steps."""

import asyncio
from itertools import count
from typing import Final
from unittest.mock import patch

import pytest

from gateway.body import JSON_BYTES_MAX
from gateway.image.limits import PROPERTIES_LENGTH_MAX
from tests.gateway.hostile.cloud import Cloud
from tests.gateway.hostile.envelope import wrong
from tests.gateway.hostile.furnish import COMPUTE
from tests.gateway.hostile.route import Place, places
from tests.gateway.hostile.sample import new_server, takes_json
from tests.gateway.hostile.test_bodies import attacked, speaker
from tests.gateway.hostile.test_paths import headers_of
from tests.gateway.hostile.wire import ANSWER_MAX_S

pytestmark = pytest.mark.asyncio(loop_scope="package")

PATCH: Final = "application/openstack-images-v2.1-json-patch"
UPLOADED: Final = {"name": "slow", "disk_format": "raw", "container_format": "bare"}
PIECE: Final = b"a" * (64 << 10)
SENT_MAX: Final = 12 << 20
"""What may fit into the buffers of both sides and the kernel beyond what is read."""


def places_with_json() -> list[Place]:
    return [place for place in places() if takes_json(place)]


def head_of(cloud: Cloud, place: Place, length: str) -> bytes:
    route = place.route
    lines = {
        "Host": "x",
        "X-Auth-Token": cloud.tokens[speaker(cloud, place)],
        "Content-Type": route.media_types[0],
        **headers_of(place),
    }
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{route.method} {place.target(cloud.victims)} HTTP/1.1\r\n{text}{length}\r\n\r\n".encode()


async def poured(cloud: Cloud, head: bytes, *, chunked: bool) -> tuple[bytes, int]:
    """The answer to a body that does not end, and how much of it could be sent."""
    reader, writer = await asyncio.open_connection(cloud.host, cloud.port, limit=1 << 20)
    piece = b"%x\r\n%s\r\n" % (len(PIECE), PIECE) if chunked else PIECE
    answer = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
    writer.write(head)
    sent = 0
    try:
        async with asyncio.timeout(ANSWER_MAX_S):
            for n in count():
                if answer.done() or n * len(PIECE) > SENT_MAX * 4:
                    break
                writer.write(piece)
                sent += len(PIECE)
                await asyncio.wait(
                    [asyncio.ensure_future(writer.drain()), answer], return_when="FIRST_COMPLETED"
                )
            return await answer, sent
    finally:
        writer.transport.abort()


async def test_a_huge_body_is_refused_by_its_announced_length(cloud: Cloud) -> None:
    """10 GB announced: the answer comes before they are sent, in the API's own format."""
    for place, target, headers, _ in attacked(cloud):
        token = {"X-Auth-Token": cloud.tokens[speaker(cloud, place)], "Content-Length": str(10 << 30)}
        media = {"Content-Type": place.route.media_types[0]}
        async with cloud.wire() as wire:
            answer = await wire.call(place.route.method, target, {**headers, **token, **media}, raw=b"[1, ")
        assert answer.status == 413, f"{place.name}: {answer}"
        assert not wrong(place.api.name, answer), place.name


async def test_a_body_without_end_is_cut_off(cloud: Cloud) -> None:
    """Chunks that never end: refused soon after the limit, and no more than buffers hold is taken."""
    for place in places_with_json()[::6]:
        answer, sent = await poured(cloud, head_of(cloud, place, "Transfer-Encoding: chunked"), chunked=True)
        assert answer.startswith(b"HTTP/1.1 413 "), f"{place.name}: {answer!r}"
        assert sent < JSON_BYTES_MAX + SENT_MAX, place.name
    assert not cloud.new_bugs()


async def test_a_body_that_never_comes_is_not_waited_for(cloud: Cloud) -> None:
    with patch("gateway.body.READ_MAX_S", 0.2):
        for place in places_with_json()[::6]:
            async with cloud.wire() as wire:
                answer = await wire.exchange(head_of(cloud, place, "Content-Length: 100") + b"{")
            assert answer.status == 408, f"{place.name}: {answer}"
            assert not wrong(place.api.name, answer), place.name


async def trickled(cloud: Cloud, head: bytes, pause_s: float) -> bytes:
    """The answer to a body of which a byte comes now and then."""
    reader, writer = await asyncio.open_connection(cloud.host, cloud.port)
    writer.write(head)
    answer = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
    try:
        async with asyncio.timeout(ANSWER_MAX_S):
            while not answer.done():
                writer.write(b" ")
                await asyncio.wait([answer], timeout=pause_s)
            return await answer
    finally:
        writer.transport.abort()


async def test_a_body_that_trickles_in_has_its_time_and_no_more(cloud: Cloud) -> None:
    with patch("gateway.body.READ_MAX_S", 0.2):
        for place in places_with_json()[::12]:
            answer = await trickled(cloud, head_of(cloud, place, "Content-Length: 1000"), 0.02)
            assert answer.startswith(b"HTTP/1.1 408 "), f"{place.name}: {answer!r}"
    with patch("gateway.body.UPLOAD_GRACE_S", 0.2):
        upload = next(place for place in places() if place.name == "PUT /image/v2/images/{image_id}/file")
        made = await cloud.must("POST", "/image/v2/images", UPLOADED, who="alice")
        path = upload.target({"image:images": made["id"]})
        head = (
            f"PUT {path} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {cloud.tokens['alice']}\r\n"
            f"Content-Type: {upload.route.media_types[0]}\r\nContent-Length: 100000\r\n\r\n"
        )
        answer = await trickled(cloud, head.encode(), 0.02)
        assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert not cloud.new_bugs()


async def test_hints_of_a_server_are_limited(cloud: Cloud) -> None:
    body = new_server(cloud.victims)
    body["os:scheduler_hints"] = {"x": {"deep": ['"'] * 20_000}}
    del body["server"]["block_device_mapping_v2"]
    version = {"OpenStack_API_Version": "compute latest"}
    answer = await cloud.call("POST", f"{COMPUTE}/servers", body, who="alice", **version)
    assert answer.status == 400
    assert "hints" in answer.text


async def test_an_image_does_not_grow_without_bounds(cloud: Cloud) -> None:
    """Patches that are small enough each, together more than a message could carry."""
    made = await cloud.must("POST", "/image/v2/images", {"name": "grows"}, who="alice")
    path = f"/image/v2/images/{made['id']}"
    statuses = []
    for step in range(8):
        patches = [
            {"op": "add", "path": f"/p{step}_{n}", "value": "v" * 60_000}
            for n in range(1 if step < 4 else 14)
        ]
        answer = await cloud.call("PATCH", path, patches, who="alice", Content_Type=PATCH)
        assert answer.status in (200, 413), answer
        statuses.append(answer.status)
    assert statuses == [200] * 4 + [413] * 4
    shown = await cloud.must("GET", path, who="alice")
    assert sum(len(name) for name in shown if name.startswith("p")) < PROPERTIES_LENGTH_MAX


async def test_names_of_a_mebibyte_are_too_large_for_any_body(cloud: Cloud) -> None:
    async with cloud.wire() as wire:
        for place, target, headers, _ in attacked(cloud):
            token = {"X-Auth-Token": cloud.tokens[speaker(cloud, place)]}
            media = {"Content-Type": place.route.media_types[0]}
            body = b'{"name": "' + b"a" * JSON_BYTES_MAX + b'"}'
            answer = await wire.call(place.route.method, target, {**headers, **token, **media}, raw=body)
            assert answer.status == 413, f"{place.name}: {answer}"
            assert not wrong(place.api.name, answer), place.name
