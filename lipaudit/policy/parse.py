"""Budgets and radii as people write them in flags; what cannot be meant is a usage error (exit 2).

A budget of nan, infinity or a negative number would pass or fail everything without a word.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

from lipaudit.errors import UsageError
from lipaudit.policy.budget import Budget
from lipaudit.policy.ceiling import CeilingBudget
from lipaudit.policy.floor import FloorBudget
from lipaudit.policy.limit import Limit
from lipaudit.policy.policy import Policy
from lipaudit.report.exact import read_exact

__all__ = [
    "DEFAULT_EPS",
    "parse_budgets",
    "parse_eps",
    "parse_max_lipschitz",
    "parse_min_certified",
    "with_flags",
]

DEFAULT_EPS = ("36/255", "72/255", "108/255", "1")
"""The radii of the literature, on images in [0, 1]."""


def parse_max_lipschitz(value: str | float) -> Fraction:
    """A finite limit ≥ 0, exactly as it was written.

    Raises:
        UsageError: for nan, infinite and negative values, and for what is no number.
    """
    hint = "write a finite number such as 20 or 1.5"
    if isinstance(value, str):
        exact = _exact("--max-lipschitz", value, hint)
    elif math.isfinite(value):
        exact = Fraction(value)
    else:
        raise UsageError(f"--max-lipschitz {value!r}: the limit must be finite", hint=hint)
    if exact < 0:
        raise UsageError(f"--max-lipschitz {value}: the limit must not be negative", hint=hint)
    return exact


def parse_eps(text: str, flag: str = "--eps") -> Fraction:
    """A radius > 0, exact.

    Args:
        text: as it was written.
        flag: where, for the message.

    Raises:
        UsageError: for what is no positive finite number.
    """
    hint = "write a radius such as 36/255 or 0.5"
    value = _exact(flag, text, hint)
    if not float(value) > 0:
        parted = ", with a point: commas part several" if flag == "--eps" else ""
        raise UsageError(f"{flag}: radius {text} must be positive", hint=f"{hint}{parted}")
    return value


def parse_min_certified(text: str) -> FloorBudget:
    """`EPS:SHARE`, for example `36/255:0.6` or `0.5:60%`.

    Raises:
        UsageError: if a part is missing or no number, or the share is not within 0 and 1.
    """
    hint = "write EPS:SHARE, for example 36/255:0.6 or 36/255:60%"
    eps_text, colon, share_text = (part.strip() for part in text.partition(":"))
    if not colon or not eps_text or not share_text:
        raise UsageError(f"--min-certified {text!r} is not EPS:SHARE", hint=hint)
    eps = parse_eps(eps_text, f"--min-certified {text!r}")
    number, percent, rest = share_text.partition("%")
    if rest:
        raise UsageError(f"--min-certified {text!r}: {share_text!r} is no share", hint=hint)
    share = _exact(f"--min-certified {text!r}", number, hint) / (100 if percent else 1)
    if not 0 <= share <= 1:
        raise UsageError(f"--min-certified {text}: a share lies between 0 and 1 (0% and 100%)", hint=hint)
    return FloorBudget(f"certified_accuracy@{eps_text}", Limit(share, share_text), eps, eps_text)


def parse_budgets(
    *,
    max_lipschitz: str | float | None = None,
    min_certified: Iterable[str] = (),
    dataset: str | None = None,
    behind: bool = False,
) -> tuple[CeilingBudget | FloorBudget, ...]:
    """All budgets of one command line, in the order limit, then shares as given.

    Args:
        max_lipschitz: what `--max-lipschitz` says.
        min_certified: what each `--min-certified` says.
        dataset: what the audit runs on; None where a report is there already.
        behind: whether the same command line measures distances behind scale, mean and std.

    Raises:
        UsageError: if one cannot be meant, a radius has two, or a share is asked without a data set.
    """
    budgets: list[CeilingBudget | FloorBudget] = []
    if max_lipschitz is not None:
        limit = Limit(parse_max_lipschitz(max_lipschitz), str(max_lipschitz).strip())
        budgets.append(CeilingBudget("lipschitz", "lipschitz", limit))
    certified = [parse_min_certified(text) for text in min_certified]
    if certified and dataset == "none":
        raise UsageError(
            "a certified-accuracy budget needs a data set",
            hint="add --dataset mnist or npz:FILE",
        )
    radii = [budget.eps for budget in certified]
    for budget in certified:
        if radii.count(budget.eps) > 1:
            raise UsageError(f"--min-certified is given twice for radius {budget.eps_text}")
    budgets += certified
    return tuple(replace(budget, space="input") for budget in budgets) if behind else tuple(budgets)


def with_flags(policy: Policy, flags: Iterable[CeilingBudget | FloorBudget]) -> Policy:
    """The policy and the budgets of the command line; these get other names where the file uses theirs."""
    taken = {budget.id for budget in policy.budgets}
    added: list[Budget] = []
    for budget in flags:
        name = budget.id
        while name in taken:
            name += " (flag)"
        added.append(replace(budget, id=name))
    return policy.plus(added)


def _exact(flag: str, text: str, hint: str) -> Fraction:
    try:
        return read_exact(text.strip())
    except ValueError as error:
        raise UsageError(f"{flag}: {error}", hint=hint) from error
