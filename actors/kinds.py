"""Every kind of actor, by name: the registry a worker is given."""

from typing import Any, Final

from actors.group.kind import GROUP
from actors.host.kind import HOST
from actors.image.kind import IMAGE
from actors.instance.kind import INSTANCE
from actors.machine import Kind
from actors.project.kind import PROJECT

KINDS: Final[dict[str, Kind[Any]]] = {kind.name: kind for kind in (INSTANCE, HOST, IMAGE, PROJECT, GROUP)}
