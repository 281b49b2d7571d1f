"""A new cloud's first rows, and the files by which a person finds in."""

import os
from pathlib import Path

from cli.wiring import Wiring
from gateway.bootstrap import bootstrap_all
from gateway.identity.password import Passwords
from process.secret import Secrets
from store.migrate import migrate
from store.pool import open_pool


async def prepare_database(wiring: Wiring, url: str) -> list[str]:
    """Migrate, then make what a new cloud begins with. Safe at every start; the migrations applied."""
    pool = await open_pool(url, connections_max=2)
    try:
        async with pool.acquire() as connection:
            applied = await migrate(connection)
        secrets = wiring.secrets(make=True)
        await bootstrap_all(
            pool,
            Passwords(),
            admin_password=secrets.admin_password,
            demo_password=secrets.demo_password,
            region=wiring.settings.region,
            clock=wiring.clock,
        )
    finally:
        await pool.close()
    return applied


def write_credentials(folder: Path, secrets: Secrets, url: str, region: str) -> None:
    """``clouds.yaml`` (clouds ``starling`` and ``demo``) and ``openrc`` (the administrator), mode 0600."""
    clouds = "clouds:\n" + "".join(
        f"  {cloud}:\n    auth:\n      auth_url: {url}/identity/v3\n      username: {user}\n"
        f"      password: {password}\n      project_name: {project}\n      user_domain_name: Default\n"
        f"      project_domain_name: Default\n    region_name: {region}\n    identity_api_version: 3\n"
        for cloud, user, password, project in (
            ("starling", "admin", secrets.admin_password, "admin"),
            ("demo", "demo", secrets.demo_password, "demo"),
        )
    )
    openrc = "".join(
        f"export {name}={value}\n"
        for name, value in {
            "OS_AUTH_URL": f"{url}/identity/v3",
            "OS_USERNAME": "admin",
            "OS_PASSWORD": secrets.admin_password,
            "OS_PROJECT_NAME": "admin",
            "OS_USER_DOMAIN_NAME": "Default",
            "OS_PROJECT_DOMAIN_NAME": "Default",
            "OS_REGION_NAME": region,
            "OS_IDENTITY_API_VERSION": "3",
        }.items()
    )
    _write(folder / "clouds.yaml", clouds)
    _write(folder / "openrc", openrc)


def _write(path: Path, text: str) -> None:
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)
