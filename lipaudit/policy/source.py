"""Which policy counts: the one named, or the closest one going up from a folder; and the baselines it needs.

The closest file wins and nothing is merged: a limit that somebody reads is the limit that holds.
"""

from __future__ import annotations

from os.path import lexists
from pathlib import Path

from lipaudit.errors import InputUnavailable, UsageError
from lipaudit.policy.policy import Policy
from lipaudit.policy.reading import PYPROJECT, TOOL, read_policy, toml_of
from lipaudit.report.model import AuditReport
from lipaudit.report.stored import read_report

__all__ = ["POLICY", "find_policy", "load_baselines", "load_policy"]

POLICY = "lipaudit.toml"
_LARGEST = 2**20  # bytes of a policy file; a real one has a few thousand


def find_policy(folder: Path) -> Path | None:
    """The closest `lipaudit.toml`, or `pyproject.toml` with `[tool.lipaudit]`, in a folder or above, if any.

    Raises:
        UsageError: if a folder has both.
    """
    here = folder.absolute()
    for place in (here, *here.parents):
        own, shared = place / POLICY, place / PYPROJECT
        # A link that leads nowhere counts: a policy that was meant must not be passed over.
        found = [path for path, there in ((own, lexists(own)), (shared, _is_policy(shared))) if there]
        if len(found) > 1:
            raise UsageError(
                f"{place} has two policies: {POLICY} and [tool.lipaudit] in {PYPROJECT}",
                hint="keep one of them, or choose with --policy FILE",
            )
        if found:
            return found[0]
    return None


def load_policy(path: Path) -> Policy:
    """Read a policy file.

    Raises:
        InputUnavailable: if it is not there.
        UsageError: if it cannot be meant.
    """
    data = _read(path, f"--policy {path}: no such file", "`lipaudit policy init` writes a commented example")
    if len(data) > _LARGEST:
        raise UsageError(f"{path}: {len(data)} bytes are no policy")
    policy = read_policy(data, path)
    if path.name == PYPROJECT and not _is_policy(path):
        raise UsageError(f"{path} has no table [tool.lipaudit]", hint=f"write it there, or into {POLICY}")
    return policy


def load_baselines(policy: Policy) -> dict[Path, AuditReport]:
    """The reports that the policy's ratchets compare with.

    Raises:
        InputUnavailable: if one is not there.
        InputRefused: if one is no report.
    """
    return {path: _baseline(policy, path) for path in policy.baselines}


def _baseline(policy: Policy, path: Path) -> AuditReport:
    line = next((budget.line for budget in policy.budgets if budget.baseline == path), None)
    if not path.is_file():
        raise InputUnavailable(
            f"{policy.place(line)}no such baseline: {path}",
            hint="the first one: `lipaudit MODEL --no-policy -o report.json`, with the data set if there is "
            "one, then `lipaudit baseline update report.json`",
        )
    return read_report(path)


def _is_policy(path: Path) -> bool:
    """Whether a `pyproject.toml` holds a policy; one that is no TOML does if it speaks of us."""
    try:
        there = path.is_file()
    except OSError:  # a folder above that may not be searched
        there = False
    if not there:
        return False
    data = _read(path, f"no such file: {path}", "")
    if TOOL[1].encode() not in data and b"\\u" not in data.lower():  # a name may be written with escapes
        return False
    tool = toml_of(data, path).get(TOOL[0])
    return isinstance(tool, dict) and TOOL[1] in tool


def _read(path: Path, missing: str, hint: str) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputUnavailable(missing, hint=hint) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputUnavailable(f"cannot read {path}: {reason}") from error
