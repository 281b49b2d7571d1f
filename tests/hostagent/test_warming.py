"""Images fetched before a guest needs them: one at a time, never in a guest's way."""

from typing import Any

from msgspec.structs import replace

from hostagent import warming
from hostagent.driver import DriverError
from hostagent.drivers.simulated.driver import SimulatedDriver
from protocol.agent import CacheImage, GuestStarted
from protocol.guest import GuestImage
from tests.hostagent.drivers.specs import IMAGE
from tests.hostagent.harness import World, run, spawn

OTHER = replace(IMAGE, image="0a8cbe4b-1d7d-4d5a-8a57-4b8f1f0b6e02")
THIRD = replace(IMAGE, image="0a8cbe4b-1d7d-4d5a-8a57-4b8f1f0b6e03")


async def cached(world: World, count: int) -> None:
    """Play until so many images are there."""
    while len(world.hypervisor.hosts["h1"].images) < count:
        await world.pass_time(1.0)


def test_an_image_is_fetched_once_and_the_guest_finds_it() -> None:
    async def story(world: World) -> None:
        world.start_agent()
        await world.send(CacheImage(image=IMAGE), CacheImage(image=OTHER), CacheImage(image=IMAGE))
        await cached(world, 2)
        await world.send(spawn())
        await world.heard(GuestStarted, 1)
        assert world.agent is not None
        figures = world.agent.metrics().driver
        assert (figures["image_misses"], figures["image_hits"], figures["images_cached"]) == (2, 1, 2)
        assert [event["image"] for event in world.events("image.cached")] == [IMAGE.image, OTHER.image]

    run(story)


def test_what_cannot_be_had_keeps_nothing_from_the_rest() -> None:
    class Picky:
        """A driver that refuses one image and breaks over another."""

        def __init__(self, driver: SimulatedDriver) -> None:
            self._driver = driver

        def __getattr__(self, name: str) -> Any:
            return getattr(self._driver, name)

        async def cache_image(self, image: GuestImage, progress: Any) -> None:
            if image == IMAGE:
                raise DriverError("image_corrupt", "It does not match.")
            if image == OTHER:
                raise ValueError("a bug")
            await self._driver.cache_image(image, progress)

    async def story(world: World) -> None:
        world.wrap = Picky
        world.start_agent()
        await world.send(*(CacheImage(image=image) for image in (IMAGE, OTHER, THIRD)))
        await cached(world, 1)
        assert [event["code"] for event in world.events("image.not_cached")] == ["image_corrupt"]
        assert len(world.events("image.cache_broke")) == 1

    run(story)


def test_there_is_a_limit_to_what_waits() -> None:
    async def story(world: World) -> None:
        world.start_agent()
        many = [replace(IMAGE, image=f"image-{n}") for n in range(warming.WAITING_MAX + 5)]
        await world.send(*(CacheImage(image=image) for image in many))
        await cached(world, warming.WAITING_MAX)
        assert len(world.events("image.not_cached")) == 5

    run(story)


def test_the_longest_unused_image_goes_but_none_that_a_guest_is_made_of() -> None:
    async def story(world: World) -> None:
        world.simulated = replace(world.simulated, images_max=2)
        world.start_agent()
        await world.send(spawn())
        await world.heard(GuestStarted, 1)
        for image in (OTHER, THIRD):
            await world.send(CacheImage(image=image))
        while not (evicted := world.hypervisor.hosts["h1"].images_evicted):
            await world.pass_time(1.0)
        assert evicted == 1
        assert set(world.hypervisor.hosts["h1"].images) == {IMAGE.image, THIRD.image}

    run(story)
