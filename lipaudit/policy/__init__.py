"""Budgets: read them, judge a report's numbers by them, decide the verdict and the exit code."""

from __future__ import annotations

from lipaudit.policy.budget import Budget, CertifiedBudget, LipschitzBudget
from lipaudit.policy.parse import (
    DEFAULT_EPS,
    parse_budgets,
    parse_eps,
    parse_max_lipschitz,
    parse_min_certified,
)
from lipaudit.policy.verdict import decide, judge, undecided

__all__ = [
    "DEFAULT_EPS",
    "Budget",
    "CertifiedBudget",
    "LipschitzBudget",
    "decide",
    "judge",
    "parse_budgets",
    "parse_eps",
    "parse_max_lipschitz",
    "parse_min_certified",
    "undecided",
]
