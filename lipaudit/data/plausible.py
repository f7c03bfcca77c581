"""Is the accuracy better than guessing?  If not, labels or preprocessing are likely wrong."""

from __future__ import annotations

import math

from torch import Tensor

__all__ = ["is_near_chance"]

SIGNIFICANCE = 0.00135
"""One-sided probability of three standard errors."""
ENOUGH = 10
"""Samples from which the commonest label says what a constant guess would reach."""


def is_near_chance(correct: Tensor, labels: Tensor, classes: int) -> bool:
    """Whether guessing would do as well with a probability above that of three standard errors.

    Chance is 1/classes (1/2 for a single logit), or the share of the commonest label if that is larger:
    the exact binomial tail P(X ≥ correct) is compared.  So samples of one class alone tell nothing: a
    constant answer is right about all of them.  A sample too small to tell, all of it correct, is not held
    against the model.
    """
    n, hits = len(labels), int(correct.sum())
    chance = 1 / max(classes, 2)
    if n >= ENOUGH:
        commonest = int(labels.bincount().max())
        if commonest == n:
            return True
        chance = max(chance, commonest / n)
    if hits == n:
        return False
    return _tail(n, hits, chance) > SIGNIFICANCE


def _tail(n: int, hits: int, p: float) -> float:
    """P(X ≥ hits) for X ~ Bin(n, p)."""
    log_p, log_q = math.log(p), math.log1p(-p)
    whole = math.lgamma(n + 1)
    return sum(
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * log_p + (n - k) * log_q)
        for k in range(hits, n + 1)
    )
