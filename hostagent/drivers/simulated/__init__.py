"""The simulated hypervisor: a first-class driver for laptops, proofs and benchmarks."""

from hostagent.drivers.simulated.driver import SimulatedDriver
from hostagent.drivers.simulated.fault import Fault, FaultPlan, FaultScript, GuestDies, Hang, NoFaults
from hostagent.drivers.simulated.host import SimulatedHost, SimulatedHypervisor
from hostagent.drivers.simulated.settings import SimulatedSettings, Verb

__all__ = [
    "Fault",
    "FaultPlan",
    "FaultScript",
    "GuestDies",
    "Hang",
    "NoFaults",
    "SimulatedDriver",
    "SimulatedHost",
    "SimulatedHypervisor",
    "SimulatedSettings",
    "Verb",
]
