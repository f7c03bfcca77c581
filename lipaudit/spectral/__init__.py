"""The norm of one linear map: bounds that are proved, estimates that are witnessed.

    >>> bracket(Conv(weight, image=32, padding=1)).above.value

`METHODS` prove upper bounds, `ESTIMATES` find witnesses.  A new method is one file and one row here;
its contract tests come by themselves.
"""

from __future__ import annotations

from lipaudit.bound import Bracket
from lipaudit.spectral import dense, embedding, fft, lanczos, low_resolution, reshape, schur, select, supremum
from lipaudit.spectral.maps import Conv, Dense, LinearMap
from lipaudit.spectral.method import Estimator, Method

__all__ = ["ESTIMATES", "METHODS", "Conv", "Dense", "LinearMap", "bracket"]

METHODS: tuple[Method, ...] = (
    schur.METHOD,
    reshape.METHOD,
    dense.METHOD,
    fft.METHOD,
    embedding.METHOD,
    embedding.SKEW,
    low_resolution.METHOD,
    supremum.METHOD,
)

ESTIMATES: tuple[Estimator, ...] = (lanczos.ESTIMATOR,)


def bracket(linear_map: LinearMap, method: str = "auto") -> Bracket:
    """Bracket the spectral norm ‖T‖ of a linear map.

    Args:
        linear_map: `Dense(weight)` or `Conv(weight, image, …)`.
        method: a name from `METHODS`, or `auto` for the best of those that are affordable.

    Returns:
        `above` (proved, rounding included) and `below` (witnessed; 0 at worst).

    Raises:
        NotCovered: if the named method has no statement about this map; `auto` covers every map.
        UsageError: if no method has that name.
    """
    return select.best_bracket(linear_map, METHODS, method)
