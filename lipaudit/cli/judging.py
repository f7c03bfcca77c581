"""Which policy a command line means: the file named, the closest one, or none; and flags on top of it."""

from __future__ import annotations

from pathlib import Path

from lipaudit.errors import UsageError
from lipaudit.policy import Policy, find_policy, load_policy

__all__ = ["closest_policy", "policy_meant"]


def closest_policy() -> Path | None:
    """The policy file that the current folder leads to.

    Raises:
        UsageError: if the folder is gone, or has two.
    """
    try:
        here = Path.cwd()
    except OSError as error:
        hint = "change to another one, or say --no-policy"
        raise UsageError(f"the current folder cannot be read: {error.strerror}", hint=hint) from error
    return find_policy(here)


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
    path = closest_policy() if named is None else Path(named)
    return Policy() if path is None else load_policy(path)
