"""Which of Tempest's tests make a suite, by the beginning of their names."""

from typing import Final

SUITES: Final[dict[str, tuple[str, ...]]] = {
    "identity": (r"tempest\.api\.identity\.", r"keystone_tempest_plugin\.tests\.api\."),
    "identity-rbac": (r"keystone_tempest_plugin\.tests\.rbac\.",),
    "image": (r"tempest\.api\.image\.", r"glance_tempest_plugin\.tests\.api\."),
    "image-rbac": (r"glance_tempest_plugin\.tests\.rbac\.",),
    "compute": (r"tempest\.api\.compute\.",),
    "network": (r"tempest\.api\.network\.",),
    "volume": (r"tempest\.api\.volume\.",),
    "object-storage": (r"tempest\.api\.object_storage\.",),
    "scenario": (r"tempest\.scenario\.",),
}


def pattern(suite: str, tests: str) -> str:
    """The regular expression of the tests to run: those of the suite whose name also fits ``tests``."""
    beginning = f"^({'|'.join(SUITES[suite])})"
    return f"{beginning}(?=.*({tests}))" if tests else beginning
