"""Rescue over HTTP: which image, and the password that clients expect."""

from actors.instance.model import V
from protocol.instance import RescueInstance, UnrescueInstance
from tests.gateway.compute.cloud import IMAGE_ID, Compute
from tests.gateway.compute.test_change import act, field


async def test_rescue_answers_with_a_password(compute: Compute) -> None:
    server = await compute.boot()
    status, answer = await act(compute, server, "rescue")
    assert (status, len(answer["adminPass"])) == (200, 12)
    said = compute.actors.sent[-1][1]
    assert isinstance(said, RescueInstance)
    assert said.image is None
    assert await field(compute, server, "OS-EXT-STS:task_state") == "rescuing"
    await compute.actors.settle(server, vm_state=V.RESCUED)
    assert await field(compute, server, "status") == "RESCUE"
    assert (await act(compute, server, "rescue"))[0] == 409
    assert (await act(compute, server, "unrescue"))[0] == 202
    assert isinstance(compute.actors.sent[-1][1], UnrescueInstance)


async def test_rescue_with_a_given_image_and_password(compute: Compute) -> None:
    server = await compute.boot()
    wish = {"adminPass": "secret", "rescue_image_ref": IMAGE_ID}
    assert await act(compute, server, "rescue", wish) == (200, {"adminPass": "secret"})
    said = compute.actors.sent[-1][1]
    assert isinstance(said, RescueInstance)
    assert said.image is not None
    assert (said.image.image, said.own_first) == (IMAGE_ID, False)


async def test_rescue_with_an_image_that_is_none(compute: Compute) -> None:
    server = await compute.boot()
    missing = {"rescue_image_ref": "0a0b0c0d-0000-4000-8000-0000000000ff"}
    assert (await act(compute, server, "rescue", missing))[0] == 400
    assert (await act(compute, server, "rescue", {"rescue_image_ref": "x"}))[0] == 400
    assert (await act(compute, server, "rescue", {"image": IMAGE_ID}))[0] == 400
