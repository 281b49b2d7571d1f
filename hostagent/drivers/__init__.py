"""Hypervisor drivers; each is found by its entry point in the group ``starling.hypervisors``."""
