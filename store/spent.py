"""What may be used once: passcodes and receipts. Which, and for how long, is for who spends them."""

from store.pool import Connection


async def spend(c: Connection, subject: str, expires_at: float) -> bool:
    """Use it up; False: somebody has. Remembered until ``expires_at``, when it must be void by itself."""
    status = await c.execute(
        "INSERT INTO identity.spent (subject, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        subject,
        expires_at,
    )
    return bool(status == "INSERT 0 1")


async def is_spent(c: Connection, subject: str) -> bool:
    """Whether it was used up."""
    return bool(await c.fetchval("SELECT EXISTS (SELECT FROM identity.spent WHERE subject = $1)", subject))


async def forget_over(c: Connection, now: float) -> None:
    """Forget what is void by itself."""
    await c.execute("DELETE FROM identity.spent WHERE expires_at <= $1", now)
