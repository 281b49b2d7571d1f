"""All APIs that a gateway serves, in the order the root document names them."""

from typing import Final

from gateway.compute.routes import API as COMPUTE
from gateway.identity.routes import API as IDENTITY
from gateway.image.routes import API as IMAGE
from gateway.network.routes import API as NETWORK
from gateway.own.routes import API as OWN
from gateway.route import Api

APIS: Final[tuple[Api, ...]] = (IDENTITY, COMPUTE, IMAGE, NETWORK, OWN)
