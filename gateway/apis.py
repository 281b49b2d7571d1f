"""All APIs that a gateway serves, in the order the root document names them."""

from typing import Final

from gateway.identity.routes import API as IDENTITY
from gateway.route import Api

APIS: Final[tuple[Api, ...]] = (IDENTITY,)
