"""What each rule means, in one sentence: for formats whose readers meet a rule before its message."""

from __future__ import annotations

from lipaudit.report.explain import short
from lipaudit.report.judgement import Metric

__all__ = ["BUDGETS", "meaning"]

BUDGETS: dict[Metric, str] = {
    "lipschitz": "A Lipschitz constant is within its budget.",
    "slack": "A bound is as tight as its budget asks.",
    "certified_accuracy": "Enough samples are certified at the radius of the budget.",
    "clean_accuracy": "Enough samples are classified correctly.",
    "require": "The audit itself is what the policy requires.",
}
"""Budgets, by metric."""


def meaning(rule: str) -> str:
    """The sentence for a rule of findings; a later version may know more of them."""
    return short(rule) or "See the message."
