"""Which policy a command line means: the file named, the closest one, or none; and flags on top of it."""

from __future__ import annotations

from pathlib import Path

from lipaudit.errors import UsageError
from lipaudit.policy import Policy, find_policy, load_policy

__all__ = ["policy_meant"]


def policy_meant(named: str | None, *, ignored: bool) -> Policy:
    """The policy of the file.

    Args:
        named: what `--policy` says.
        ignored: whether `--no-policy` was given.

    Raises:
        UsageError: if the file cannot be meant, or both options were given.
        InputUnavailable: if the file named is not there.
    """
    if ignored and named is not None:
        raise UsageError("--policy and --no-policy contradict each other")
    if ignored:
        return Policy()
    path = find_policy(Path.cwd()) if named is None else Path(named)
    return Policy() if path is None else load_policy(path)
