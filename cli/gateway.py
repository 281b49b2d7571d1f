"""The gateway role: all APIs on one port, the health documents beside them."""

import asyncio
from pathlib import Path

from aiohttp import web

from cli.wiring import Wiring
from gateway.apis import APIS
from gateway.app import make_app
from gateway.bus_commands import BusCommands
from gateway.identity.password import Passwords
from gateway.identity.password_rules import PasswordRules
from gateway.identity.throttle import Throttle
from gateway.identity.token import Tokens
from gateway.identity.vault import Vault
from gateway.image.store import Stores
from gateway.image.stores.load import make_stores
from gateway.image.sweep import sweep_forever
from gateway.network.upkeep import free_forever
from gateway.own.cursor import Cursors
from gateway.own.tail import EventTail
from gateway.policy import Policy
from gateway.policy_file import apply_file, reloading
from gateway.route import rules_of
from gateway.services import GatewaySettings, ImageLimits, Services
from process.clock import Clock
from process.health import add_health, serve
from process.run import Part
from process.settings import Settings
from store.pool import Pool
from store.probe import clock_offset


class Gateway:
    """One gateway: its services, its application, its listener."""

    def __init__(self, wiring: Wiring, pool: Pool) -> None:
        settings, secrets = wiring.settings, wiring.secrets(make=False)
        self._wiring = wiring
        name = wiring.clock.uuid()[:13]
        self.name = f"gateway-{name}"
        self.commands = BusCommands(
            name=name,
            bus=wiring.bus(self.name),
            clock=wiring.clock,
            partitions=settings.partitions,
            log=wiring.log_of("gateway"),
        )
        keys = [bytes.fromhex(key) for key in secrets.token_keys]
        self.tokens = Tokens(pool, wiring.clock, keys)
        self.passwords = Passwords()
        self.images = _image_stores(settings, wiring.clock)
        self.events = EventTail(pool, wiring.log_of("starling"), Cursors(keys))
        self.services = Services(
            clock=wiring.clock,
            settings=GatewaySettings(
                region=settings.region,
                token_lifetime_s=settings.token_lifetime_s,
                trust_forwarded=settings.trust_forwarded,
                password_rules=_password_rules(settings),
                reclaim_instance_s=settings.reclaim_instance_s,
                image_bytes_max=settings.image_size_max_gib << 30,
                image_limits=ImageLimits(
                    size_total=settings.image_size_total_mib,
                    stage_total=settings.image_stage_total_mib,
                    count_total=settings.image_count_total,
                    count_uploading=settings.image_count_uploading,
                ),
            ),
            pool=pool,
            read_pool=pool,
            commands=self.commands,
            tokens=self.tokens,
            passwords=self.passwords,
            vault=Vault(secrets.vault()),
            policy=_policy(wiring),
            throttle=Throttle(
                user_per_minute=settings.login_failures_per_minute_user,
                address_per_minute=settings.login_failures_per_minute_address,
            ),
            metrics=wiring.metrics.request,
            access=wiring.access.write,
            images=self.images,
            url_key=bytes.fromhex(secrets.url_key),
            events=self.events,
        )
        self._pool = pool

    def application(self) -> web.Application:
        """The application with the health documents."""
        app = make_app(self.services, APIS)

        async def end_streams(_: web.Application) -> None:
            self.events.stop()

        app.on_shutdown.append(end_streams)

        async def database() -> dict[str, float]:
            return {"clock_offset_s": round(await clock_offset(self._pool, self._wiring.clock), 6)}

        add_health(app, {"database": database}, self._wiring.metrics, self._wiring.log_of("gateway"))
        return app

    async def _sweep(self) -> None:
        await sweep_forever(self._pool, self.images, self._wiring.clock, self._wiring.log_of("image"))

    async def _hold_stores(self) -> None:
        """Stopped after all that use them, the stores let go of their connections."""
        try:
            await asyncio.Event().wait()
        finally:
            await self.images.close()

    async def _free_ports(self) -> None:
        await free_forever(self._pool, self._wiring.clock, self._wiring.log_of("network"))

    def parts(self) -> list[Part]:
        """What must run for the gateway to answer."""
        settings = self._wiring.settings
        current: list[web.AppRunner] = []

        async def listen() -> None:
            runner = await serve(self.application(), settings.listen, settings.port)
            current.append(runner)
            try:
                await asyncio.Event().wait()
            finally:
                current.remove(runner)
                await runner.cleanup()

        async def drain() -> None:
            for runner in current:
                await runner.cleanup()  # takes no more requests, waits for those it has

        return [
            Part(self.name, listen, drain, fatal=(OSError,)),
            Part(f"{self.name}-answers", self.commands.run),
            Part(f"{self.name}-revocations", self.tokens.listen),
            Part(f"{self.name}-images", self._sweep),
            Part(f"{self.name}-stores", self._hold_stores),
            Part(f"{self.name}-ports", self._free_ports),
        ]


def _policy(wiring: Wiring) -> Policy:
    """The rules with the operator's own in their place, read again on SIGHUP. Raises PolicyError."""
    policy = Policy(rules_of(APIS))
    if wiring.settings.policy_file:
        path = Path(wiring.settings.policy_file)
        apply_file(policy, path)
        wiring.reloads.append(reloading(policy, path, wiring.log_of("gateway")))
    return policy


def _image_stores(settings: Settings, clock: Clock) -> Stores:
    """The configured stores; without any, one folder. Raises DriverNotInstalledError, DriverOptionsError."""
    if settings.image_stores:
        return make_stores(settings.image_stores, settings.image_store_default, clock)
    path = settings.image_path or str(settings.state_path / "images")
    only = {"kind": "file", "description": "Files in a folder of the gateways.", "options": {"path": path}}
    return make_stores({"file": only}, settings.image_store_default, clock)


def _password_rules(settings: Settings) -> PasswordRules:
    return PasswordRules(
        regex=settings.password_regex,
        regex_description=settings.password_regex_description,
        expires_days=settings.password_expires_days,
        age_min_days=settings.password_age_min_days,
        unique_last=settings.password_unique_last,
        change_upon_first_use=settings.password_change_upon_first_use,
        lockout_failures_max=settings.lockout_failures_max,
        lockout_s=settings.lockout_s,
        inactive_days_max=settings.user_inactive_days_max,
    )


async def make_gateway(wiring: Wiring) -> Gateway:
    """A gateway on its own pool."""
    return Gateway(wiring, await wiring.pool("gateway", connections_max=10))
