"""Who is asking: the Caller a token stands for, and the check of the header that carries it.

How tokens are made and verified belongs to gateway/identity; what a caller may do to policy.py.
"""

from typing import Literal, Protocol

from msgspec import Struct

from gateway.problem import Problem
from store.application_credential import AccessRule

TOKEN_LENGTH_MAX = 4096  # ours are near 250 characters; more is not a token

Scope = Literal["unscoped", "project", "domain", "system"]


class AppCredential(Struct, frozen=True, kw_only=True):
    """The application credential a token was got with; ``access_rules`` empty: every call."""

    id: str
    name: str
    restricted: bool
    access_rules: tuple[AccessRule, ...] = ()


class TrustPart(Struct, frozen=True, kw_only=True):
    """The trust a token was got with; it ends with any of the users and domains of its chain."""

    id: str
    trustor_user_id: str
    trustee_user_id: str
    impersonation: bool
    counts_uses: bool
    user_ids: frozenset[str]
    domain_ids: frozenset[str]


class Caller(Struct, frozen=True, kw_only=True):
    """An authenticated user within a scope. ``roles`` are names and include the implied ones.

    ``role_list`` are the same as pairs of id and name.

    Project fields are set when ``scope`` is "project", domain fields when it is "domain".
    ``audit_id`` names this token in logs and revocations, ``audit_chain`` the one it descends from.
    ``app_credential`` and ``trust`` narrow what the token may do below what its user may; with a trust that
    impersonates, the user is the trustor.
    """

    user_id: str
    user_name: str
    user_domain_id: str
    user_domain_name: str
    password_expires_at: float | None = None
    scope: Scope = "unscoped"
    project_id: str = ""
    project_name: str = ""
    project_domain_id: str = ""
    project_domain_name: str = ""
    domain_id: str = ""
    domain_name: str = ""
    roles: frozenset[str] = frozenset()
    role_list: tuple[tuple[str, str], ...] = ()
    is_admin: bool = False
    methods: tuple[str, ...] = ()
    audit_id: str = ""
    audit_chain: str = ""
    issued_at: float = 0.0
    expires_at: float = 0.0
    app_credential: AppCredential | None = None
    trust: TrustPart | None = None

    @property
    def is_delegated(self) -> bool:
        """Whether the token is good for only a part of what its user may."""
        return self.app_credential is not None or self.trust is not None


class TokenVerifier(Protocol):
    """Turns tokens into callers."""

    def cached(self, token: str) -> Caller | None:
        """The caller when this process knows the token and it is still good; else None: verify it."""
        ...

    async def verify(self, token: str) -> Caller | None:
        """The caller, or None when the token is invalid, expired or revoked."""
        ...


def unauthorized(base_url: str) -> Problem:
    """401 with the header that tells clients where to log in."""
    headers = {"WWW-Authenticate": f'Keystone uri="{base_url}/identity"'}
    return Problem(401, "The request you have made requires authentication.", headers=headers)


async def authenticate(verifier: TokenVerifier, token: str | None, base_url: str) -> Caller:
    """The caller of a request that carries ``token``. Raises Problem 401."""
    if not token or len(token) > TOKEN_LENGTH_MAX:
        raise unauthorized(base_url)
    caller = verifier.cached(token) or await verifier.verify(token)
    if caller is None:
        raise unauthorized(base_url)
    return caller
