"""What each rule means, in one sentence: for formats whose readers meet a rule before its message."""

from __future__ import annotations

from lipaudit.report.judgement import Metric

__all__ = ["BUDGETS", "RULES", "meaning"]

RULES: dict[str, str] = {
    "LIP101": "A layer has no Lipschitz bound.",
    "LIP102": "The spectral method that was asked for proved nothing about some layers.",
    "LIP201": "A layer provably amplifies.",
    "LIP202": "A batch of samples is spread wider behind a layer than before it.",
    "LIP203": "A part that was bounded as a whole is not proved to be 1-Lipschitz.",
    "LIP301": "The accuracy is near chance.",
    "LIP302": "Some outputs are NaN or infinite.",
    "LIP303": "The images are not pixels in [0, 1].",
    "LIP304": "The preprocessing is unknown.",
    "LIP305": "The preprocessing was assumed, and another one may be meant.",
    "LIP306": "The preprocessing was assumed, and budgets are not judged by a guess.",
    "LIP401": "A waiver has expired, and its budget counts again.",
    "LIP402": "A waiver excuses nothing.",
    "LIP403": "A waiver is in force.",
}
"""Findings, by rule."""

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
    return RULES.get(rule, "See the message.")
