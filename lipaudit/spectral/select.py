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
AFFORDABLE = ((1.05, 6e11), (1.01, 5e10), (1.001, 2e10), (TIGHT, 1e9))
"""Float operations a further method may cost while the slack is above a value: half a minute on one core for
what is loose, a second for the last per cent, a tenth of one for the last per mille."""


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


def _worth(above: float, below: float) -> float:
    """Float operations a further bound may cost, by how loose the present one is."""
    slack = above / below if below > 0 else math.inf
    return next((cost for limit, cost in AFFORDABLE if slack > limit), 0.0)


def _best_bound(linear_map: LinearMap, methods: Sequence[Method], below: Estimate) -> Bound:
    plain, _ = prepare(linear_map)
    best: Bound | None = None
    ranked = sorted(((m.cost(plain), m) for m in methods), key=lambda pair: pair[0])
    for cost, candidate in ranked:
        if cost == math.inf or (best is not None and cost > _worth(best.value, below.value)):
            continue
        try:
            found = candidate.bound(linear_map, below.value)
        except NotCovered:
            continue
        if best is None or found.value < best.value:
            best = found
    if best is None:
        return Bound.unbounded("no method covers this map")
    return best
