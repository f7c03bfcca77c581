"""The best bound within reason: cheap methods first, until the bracket is tight.

`bracket(map)` takes the smallest bound of all methods it tried and the largest estimate.  It always
returns a bound, since the Schur test covers every map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lipaudit.bound import Bound, Bracket, Estimate
from lipaudit.errors import NotCovered, UsageError
from lipaudit.spectral.lanczos import ESTIMATOR
from lipaudit.spectral.maps import LinearMap
from lipaudit.spectral.method import Method, prepare

__all__ = ["best_bracket"]

TIGHT = 1 + 1e-7
"""Slack below which nothing more is tried."""
AFFORDABLE = 6e11
"""Float operations of one method, about half a minute on one core."""


def best_bracket(linear_map: LinearMap, methods: Sequence[Method], method: str = "auto") -> Bracket:
    """Bracket the norm by one named method, or by the best of all that are affordable.

    Args:
        linear_map: a `Dense` or `Conv`.
        methods: the table to choose from.
        method: a method's name, or `auto`.

    Raises:
        NotCovered: if the named method has no statement about this map.
        UsageError: if no method has that name.
    """
    below = ESTIMATOR.estimate(linear_map)
    if method != "auto":
        chosen = next((m for m in methods if m.name == method), None)
        if chosen is None:
            names = ", ".join(["auto", *(m.name for m in methods)])
            raise UsageError(f"no spectral method is called {method!r}", hint=f"choose one of {names}")
        return Bracket(chosen.bound(linear_map, below.value), below)
    return Bracket(_best_bound(linear_map, methods, below), below)


def _best_bound(linear_map: LinearMap, methods: Sequence[Method], below: Estimate) -> Bound:
    plain, _ = prepare(linear_map)
    best: Bound | None = None
    ranked = sorted(((m.cost(plain), m) for m in methods), key=lambda pair: pair[0])
    for cost, candidate in ranked:
        affordable = cost <= AFFORDABLE or best is None
        if cost == math.inf or not affordable:
            continue
        if best is not None and best.value <= below.value * TIGHT:
            break
        try:
            found = candidate.bound(linear_map, below.value)
        except NotCovered:
            continue
        if best is None or found.value < best.value:
            best = found
    if best is None:
        return Bound.unbounded("no method covers this map")
    return best
