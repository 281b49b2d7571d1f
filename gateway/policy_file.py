"""An operator's own policy: a TOML file of sentences that take the place of the built-in ones.

    "compute:servers:create" = "role:operator and project"

What a sentence may say stands in gateway/policy.py.
"""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from gateway.policy import Policy, PolicyError


def read_overrides(path: Path) -> Mapping[str, str]:
    """The sentences by rule name. Raises PolicyError for a file that holds anything else."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PolicyError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path} is not valid TOML: {error}") from error
    for name, sentence in found.items():
        if not isinstance(sentence, str):
            hint = "write the name in quotes" if isinstance(sentence, dict) else "write it in quotes"
            raise PolicyError(f"{path}: what {name!r} is set to is no sentence; {hint}")
    return found


def apply_file(policy: Policy, path: Path) -> None:
    """Let the file's sentences hold, and no other overrides. Raises PolicyError that names the file."""
    overrides = read_overrides(path)
    try:
        policy.override(overrides)
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from error


def reloading(policy: Policy, path: Path, log: FilteringBoundLogger) -> Callable[[], None]:
    """What reads the file again in a running process: one that is not good is told of and changes nothing."""

    def reload() -> None:
        try:
            apply_file(policy, path)
        except PolicyError as error:
            log.warning("policy.refused", error=str(error))
        else:
            log.info("policy.reloaded", file=str(path))

    return reload
