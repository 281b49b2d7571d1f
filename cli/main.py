"""The ``starling`` command: starts the cloud, one role of it, or looks after its database and hosts."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import uvloop

from bus.enrolment import enrol_role
from bus.mailbox import BusUnavailable
from cli.bootstrap import prepare_database, write_credentials
from cli.enrol import enrol, retire
from cli.policy import add_check_arguments, add_show_arguments, check, show
from cli.roles import run_agent, run_gateway, run_scheduler, run_worker
from cli.up import up
from cli.wiring import Wiring
from gateway.commands import Unavailable
from gateway.policy import PolicyError
from hostagent.identity import IdentityError
from hostagent.journal import JournalCorrupt
from process.plugin import DriverNotInstalledError, DriverOptionsError
from process.run import calm_collector
from process.secret import SecretsError, password
from process.settings import SettingsError
from store.embedded import EmbeddedPostgresError
from store.migrate import ChangedMigrationError, DatabaseTooNewError, DatabaseTooOldError, create_login
from store.pool import open_pool
from store.turn import StoreUnavailable

_EXPECTED = (
    SettingsError,
    SecretsError,
    IdentityError,
    JournalCorrupt,
    EmbeddedPostgresError,
    DatabaseTooNewError,
    DatabaseTooOldError,
    ChangedMigrationError,
    DriverNotInstalledError,
    DriverOptionsError,
    BusUnavailable,
    StoreUnavailable,
    Unavailable,
    PolicyError,
    OSError,
)
_EPILOG = """settings come from $STARLING_CONFIG (TOML) and STARLING_* variables; see docs/operations.md"""

Action = Callable[[Wiring, argparse.Namespace], Awaitable[int]]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("starling", description="A cloud operating system.", epilog=_EPILOG)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        under: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str, action: Action
    ) -> argparse.ArgumentParser:
        command = under.add_parser(name, help=text, description=text, epilog=_EPILOG)
        command.set_defaults(action=action)
        return command

    add(commands, "up", "Run the whole cloud in this process.", lambda wiring, _: up(wiring))
    add(commands, "gateway", "Run a gateway: the HTTP APIs.", lambda wiring, _: run_gateway(wiring))
    add(commands, "worker", "Run a worker: the actors.", lambda wiring, _: run_worker(wiring))
    add(commands, "scheduler", "Run a scheduler.", lambda wiring, _: run_scheduler(wiring))
    agent = commands.add_parser("agent", help="Run or enrol a host's agent.").add_subparsers(
        required=True, metavar="ACTION"
    )
    run = add(
        agent, "run", "Run the agents of the enrolled hosts in a folder.", lambda w, a: run_agent(w, a.folder)
    )
    run.add_argument("folder", type=Path, help="a host's folder, or one that holds several")
    new = add(agent, "enrol", "Make a host's identity, bus user and configuration.", _enrol)
    new.add_argument("folder", type=Path, help="where the host's configuration and journal will be")
    new.add_argument("--hostname", default="", help="the host's name (default: this machine's)")
    new.add_argument("--driver", default="libvirt", help="the hypervisor driver: libvirt or simulated")
    new.add_argument("--zone", default="nova", help="the availability zone (default: nova)")
    new.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help="a setting of the driver"
    )
    old = add(agent, "retire", "Remove a host, its bus user and its queue from the cloud.", _retire)
    old.add_argument("host", help="its id, its name or its folder; no instance may be on it")
    db = commands.add_parser("db", help="Look after the database.").add_subparsers(
        required=True, metavar="ACTION"
    )
    add(
        db,
        "migrate",
        "Bring the database to this release's shape and make a new cloud's first rows.",
        _migrate,
    )
    login = add(db, "login", "Make a login with one role's rights; prints its password.", _login)
    login.add_argument("role", choices=("gateway", "worker", "scheduler"))
    login.add_argument("name", help="the login's name")
    bus = commands.add_parser("bus", help="Look after the bus.").add_subparsers(
        required=True, metavar="ACTION"
    )
    user = add(bus, "login", "Make a bus user with one role's rights; prints its password.", _bus_login)
    user.add_argument("role", choices=("gateway", "worker", "scheduler"))
    user.add_argument("name", help="the user's name")
    policy = commands.add_parser("policy", help="Show and try out who may do what.").add_subparsers(
        required=True, metavar="ACTION"
    )
    text = "Show the rules as they hold, with the calls they decide."
    add_show_arguments(add(policy, "show", text, _offline(show)))
    text = "Say whether a caller may, and why; exit code 1 when not. Asks nothing of a running cloud."
    add_check_arguments(add(policy, "check", text, _offline(check)))
    return parser


def _offline(act: Callable[[str, argparse.Namespace], int]) -> Action:
    """An action on the policy, which waits for nobody."""

    async def action(wiring: Wiring, arguments: argparse.Namespace) -> int:
        return act(wiring.settings.policy_file, arguments)

    return action


async def _bus_login(wiring: Wiring, arguments: argparse.Namespace) -> int:
    secret = password()
    await enrol_role(wiring.bus_admin(), arguments.role, arguments.name, secret)
    print(secret)
    return 0


async def _enrol(wiring: Wiring, arguments: argparse.Namespace) -> int:
    _require_operator(wiring)
    try:
        identity = await enrol(
            wiring,
            folder=arguments.folder,
            hostname=arguments.hostname,
            driver=arguments.driver,
            zone=arguments.zone,
            options=_options(arguments.option),
        )
    finally:
        await wiring.close()
    print(
        f"{identity.host} {identity.hostname}: enrolled; run it with 'starling agent run {arguments.folder}'"
    )
    return 0


def _require_operator(wiring: Wiring) -> None:
    wiring.require_production("agent")
    if not wiring.settings.database_for("gateway"):
        raise SettingsError("hosts are enrolled with STARLING_DATABASE_URL; see docs/operations.md")


async def _retire(wiring: Wiring, arguments: argparse.Namespace) -> int:
    _require_operator(wiring)
    try:
        print(await retire(wiring, arguments.host))
    finally:
        await wiring.close()
    return 0


def _options(pairs: list[str]) -> dict[str, str | int | float | bool]:
    found: dict[str, str | int | float | bool] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise SettingsError(f"--option {pair}: it must be KEY=VALUE")
        try:
            value = msgspec.json.decode(text, type=int | float | bool)
        except msgspec.MsgspecError:
            found[key] = text
        else:
            found[key] = value
    return found


async def _migrate(wiring: Wiring, _: argparse.Namespace) -> int:
    url = wiring.settings.database_url
    if not url:
        raise SettingsError(
            "db migrate needs STARLING_DATABASE_URL with a login that may create schemas and roles"
        )
    applied = await prepare_database(wiring, url)
    settings = wiring.settings
    if settings.public_url:
        settings.state_path.mkdir(parents=True, exist_ok=True)
        write_credentials(
            settings.state_path, wiring.secrets(make=True), settings.public_url, settings.region
        )
    print("\n".join(applied) or "nothing to do")
    return 0


async def _login(wiring: Wiring, arguments: argparse.Namespace) -> int:
    url = wiring.settings.database_url
    if not url:
        raise SettingsError("db login needs STARLING_DATABASE_URL with a login that may create roles")
    pool = await open_pool(url, connections_max=1)
    try:
        secret = password()
        async with pool.acquire() as connection:
            await create_login(connection, arguments.name, secret, f"starling_{arguments.role}")
    finally:
        await pool.close()
    print(secret)
    return 0


def main() -> None:
    """Run the command; errors an operator can mend are one line, not a traceback."""
    arguments = _parser().parse_args()
    try:
        wiring = Wiring.from_environment()
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        calm_collector()
        code = asyncio.run(arguments.action(wiring, arguments))
    except _EXPECTED as error:
        print(f"starling: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    sys.stderr.flush()
    sys.exit(code)


if __name__ == "__main__":
    main()
