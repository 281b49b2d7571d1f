"""What is said to a host agent, and the facts it answers with.

Every command carries (instance, generation, number). The agent keeps the highest pair with its last
answer per instance: it refuses lower ones (``stale``), answers an equal one from its journal, and
acts on a higher one. Facts echo the pair, so that an actor drops the answers of steps long over.
"""

from typing import Literal

from protocol.guest import GuestImage, GuestSpec, GuestState, HostInventory, PowerState
from protocol.message import Message


class GuestCommand(Message, frozen=True):
    """The root of all orders to an agent about one guest."""

    instance: str
    generation: int
    number: int


class SpawnGuest(GuestCommand, frozen=True, tag="instance.spawn_guest"):
    """Make the guest from its image and start it. Answered by GuestStarted."""

    spec: GuestSpec


class StartGuest(GuestCommand, frozen=True, tag="instance.start_guest"):
    """Power on. Answered by GuestStarted."""

    spec: GuestSpec


class StopGuest(GuestCommand, frozen=True, tag="instance.stop_guest"):
    """Power off: ACPI, again every ``retry_s``, force after ``timeout_s``. Answered by GuestStopped."""

    timeout_s: float = 60.0
    retry_s: float = 10.0


class RebootGuest(GuestCommand, frozen=True, tag="instance.reboot_guest"):
    """Restart; soft becomes hard after ``timeout_s``. Answered by GuestStarted."""

    spec: GuestSpec
    kind: Literal["soft", "hard"]
    timeout_s: float = 120.0


class PauseGuest(GuestCommand, frozen=True, tag="instance.pause_guest"):
    """Freeze. Answered by GuestPaused."""


class UnpauseGuest(GuestCommand, frozen=True, tag="instance.unpause_guest"):
    """Go on. Answered by GuestStarted."""


class SuspendGuest(GuestCommand, frozen=True, tag="instance.suspend_guest"):
    """Save the memory to the host's disk and power off. Answered by GuestSuspended."""


class ResumeGuest(GuestCommand, frozen=True, tag="instance.resume_guest"):
    """Go on from the saved memory, also after the host restarted. Answered by GuestStarted."""


class RescueGuest(GuestCommand, frozen=True, tag="instance.rescue_guest"):
    """Cut the power and boot ``image`` with the guest's own disk beside it. Answered by GuestRescued.

    The rescue disk is the first one and the guest's own the second; with ``own_first`` the guest's own
    keeps its place and the rescue disk, behind it, is booted from all the same.
    """

    spec: GuestSpec
    image: GuestImage
    own_first: bool = False


class UnrescueGuest(GuestCommand, frozen=True, tag="instance.unrescue_guest"):
    """End the rescue; boot from the guest's own disk unless ``stay_off``.

    Answered by GuestStarted or GuestStopped.
    """

    spec: GuestSpec
    stay_off: bool = False


class DestroyGuest(GuestCommand, frozen=True, tag="instance.destroy_guest"):
    """Remove the guest and all it stored; leave a tombstone. Answered by GuestDestroyed.

    It ends whatever the agent is doing for this instance at a lower (generation, number).
    """


class LookAtGuest(GuestCommand, frozen=True, tag="instance.look_at_guest"):
    """Say what the guest is now. Answered by GuestSeen; changes nothing."""


class ForgetGuest(GuestCommand, frozen=True, tag="instance.forget_guest"):
    """Purge the tombstone: the controller has recorded the deletion. Not answered."""


class CacheImage(Message, frozen=True, tag="hostactor.cache_image"):
    """Download the image now, unless it is cached, when nothing more urgent is to be done. Not answered.

    ``generation`` is what its URL is signed for: not that of a guest, so it is 0.
    """

    image: GuestImage
    generation: int = 0


class ReadGuestConsole(Message, frozen=True, tag="instance.read_guest_console"):
    """Read the end of the serial console's log for ``reply_to``. Answered by GuestConsole."""

    instance: str
    generation: int
    bytes_max: int
    reply_to: str
    operation: str


class GuestFact(Message, frozen=True):
    """The root of all facts about one guest; (generation, number) are those of the command answered."""

    instance: str
    generation: int
    number: int


class GuestStarted(GuestFact, frozen=True, tag="host.guest_started"):
    """The guest runs."""


class GuestStopped(GuestFact, frozen=True, tag="host.guest_stopped"):
    """The guest is off."""


class GuestPaused(GuestFact, frozen=True, tag="host.guest_paused"):
    """The guest is frozen in memory."""


class GuestSuspended(GuestFact, frozen=True, tag="host.guest_suspended"):
    """The guest's memory is on the host's disk, the guest is off."""


class GuestRescued(GuestFact, frozen=True, tag="host.guest_rescued"):
    """The rescue system runs."""


class GuestDestroyed(GuestFact, frozen=True, tag="host.guest_destroyed"):
    """Nothing of the guest is left but the journal's tombstone."""


class GuestSeen(GuestFact, frozen=True, tag="host.guest_seen"):
    """What the hypervisor has: an answer to LookAtGuest, or unasked (number 0) when it changed.

    ``after`` is the number of the last command that was over when the agent looked; ``sight`` orders
    what one run of the agent (``session``) has seen unasked.
    """

    power_state: PowerState
    reason: str = ""
    exists: bool = True
    after: int = 0
    session: str = ""
    sight: int = 0
    rescued: bool = False


class GuestFailed(GuestFact, frozen=True, tag="host.guest_failed"):
    """The command could not be done. ``code`` is stable; ``reason`` is for the tenant.

    ``power_state`` is what the hypervisor says after the failure, None when it could not be asked.
    """

    code: str
    reason: str
    power_state: PowerState | None = None


class GuestProgress(GuestFact, frozen=True, tag="host.guest_progress"):
    """A long step goes on: ``done`` of ``total`` bytes of ``what``."""

    what: str
    done: int
    total: int


class GuestConsole(Message, frozen=True, tag="host.guest_console"):
    """The end of a console log, for the gateway ``reply_to`` waiting under ``operation``."""

    instance: str
    generation: int
    reply_to: str
    operation: str
    text: str
    error: str = ""


class ConsoleRead(Message, frozen=True, tag="instance.console_read"):
    """The console's end, passed on by the instance after it checked who said it."""

    text: str
    error: str = ""


class Heartbeat(Message, frozen=True, tag="host.heartbeat"):
    """The agent lives. ``sent_at`` is UTC epoch seconds by the host's clock, ``session`` one agent run."""

    session: str
    sent_at: float


class HeartbeatHeard(Message, frozen=True, tag="hostactor.heartbeat_heard"):
    """The host actor recorded the heartbeat sent at ``sent_at``; the agent's lease counts from then."""

    sent_at: float
    heard_at: float


class HostReport(Message, frozen=True, tag="host.report"):
    """What the host is and which guests are on it now: at start, periodically, after reconnects.

    ``sequence`` orders the reports of one session, and what they say among what was told unasked.
    ``tombstones``: (instance, generation) of destroyed guests the agent has not been told to forget.
    """

    session: str
    inventory: HostInventory
    guests: tuple[GuestState, ...]
    tombstones: tuple[tuple[str, int], ...] = ()
    clock_offset_s: float = 0.0
    sequence: int = 1
