"""All image sizes at once: the supremum of the symbol over continuous frequencies, by branch and bound.

    ‖T‖ ≤ √copies · sup_ω σ₁(K̂(ω)),   copies = how often padding repeats a cell (1 for zeros and circles).

Why the supremum bounds every size stands in `low_resolution`, how it is found and proved in `branch`.  Its
cost does not depend on the image; where many frequencies lie close to the supremum, the operations allowed
run out first and the bound is looser than the tolerance.
"""

from __future__ import annotations

import math

from lipaudit.errors import NotCovered
from lipaudit.rounding import div_down, mul_up
from lipaudit.spectral.branch import grid_cost, supremum
from lipaudit.spectral.cells import Domain
from lipaudit.spectral.low_resolution import repetition
from lipaudit.spectral.maps import Conv
from lipaudit.spectral.method import Effort, Method, Plain
from lipaudit.spectral.symbol import polyphase

__all__ = ["METHOD"]

DENSE_GRID = 4096
"""A grid so fine per degree that searching it costs what the continuum does."""


def _cost(plain: Plain) -> float:
    if not isinstance(plain, Conv):
        return math.inf
    return 2 * grid_cost(polyphase(plain, plain.stride), (DENSE_GRID,) * len(plain.image))


def _compute(plain: Plain, start: float, effort: Effort) -> float:
    if not isinstance(plain, Conv):
        raise NotCovered("not a convolution")
    factor = repetition(plain)
    return mul_up(supremum(polyphase(plain, plain.stride), start / factor, effort), factor)


def _confirm(plain: Plain, tau: float, effort: Effort) -> bool:
    if not isinstance(plain, Conv):
        raise NotCovered("not a convolution")
    domain = Domain.of_all(polyphase(plain, plain.stride), memory=effort.memory)
    return domain.holds(div_down(tau, repetition(plain)), effort)


# Where there is an embedding grid, its points are some of these frequencies.
METHOD = Method(
    "supremum",
    "any image size: sup of σ₁ of the symbol, branch and bound",
    _cost,
    _compute,
    _confirm,
    outdone_by="embedding",
)
