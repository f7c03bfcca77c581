"""Circular padding: Gram iteration on every block of the exact grid of frequencies.

The map is a sub-block of a circulant one, whose norm is max σ₁(K̂(ω)) over a grid (`fft` has the
statement and the proof).  Each block is bounded by Gram iteration (`gram`), and

    ‖T‖ ≤ max over ω of Gram(fl K̂(ω)) + ‖K̂ − fl K̂‖,

the last term being the symbol's own rounding error.

Delattre, Barthélemy, Araujo, Allauzen (2023), "Efficient Bound of Lipschitz Constant for Convolutional
Layers by Gram Iteration", ICML, sec. 4.
"""

from __future__ import annotations

import math

from lipaudit.errors import NotCovered
from lipaudit.rounding import add_up, sub_down
from lipaudit.spectral.fft import circulant_grid
from lipaudit.spectral.gram import MOST_STEPS, check_steps, closing_norm, gram_bound
from lipaudit.spectral.method import Effort, Method, Plain
from lipaudit.spectral.symbol import Symbol, polyphase

__all__ = ["METHOD", "method"]

BYTES_PER_ENTRY = 64
"""A complex matrix, its product, and what scaling and norms hold for a moment."""


def method(steps: int | None = None, norm: str = "frobenius") -> Method:
    """The method with a fixed number of squarings, or (None) as many as gain.

    Raises:
        UsageError: for a norm that bounds nothing, or negative steps.
    """
    closing_norm(norm)
    check_steps(steps, least=0)

    def compute(plain: Plain, start: float, effort: Effort) -> float:
        conv, stride, grid = circulant_grid(plain)
        symbol = polyphase(conv, stride)
        return add_up(largest(symbol, grid, start, effort), symbol.error())

    def largest(symbol: Symbol, grid: tuple[int, ...], start: float, effort: Effort) -> float:
        bound = 0.0
        for chunk in symbol.chunks(grid):
            batch = max(1, effort.memory // (BYTES_PER_ENTRY * chunk[0].numel()))
            for part in chunk.split(batch):
                # Blocks that cannot raise the maximum need no further squaring.
                enough = max(bound, start * (1 + effort.tolerance))
                found = gram_bound(part, steps, norm, tolerance=effort.tolerance, enough=enough)
                bound = max(bound, found)
        return bound

    def confirm(plain: Plain, tau: float, effort: Effort) -> bool:
        conv, stride, grid = circulant_grid(plain)
        symbol = polyphase(conv, stride)
        claim = sub_down(tau, symbol.error())
        # Squarings end as soon as they have proved it.
        return largest(symbol, grid, claim, effort) <= claim

    def cost(plain: Plain) -> float:
        try:
            conv, stride, grid = circulant_grid(plain)
        except NotCovered:
            return math.inf
        taps, groups, p, q = polyphase(conv, stride).matrices.shape
        squarings = MOST_STEPS if steps is None else steps
        return math.prod(grid) / 2 * groups * 8.0 * p * (taps * q + p * q + squarings * p * p)

    summary = "circular padding: Gram iteration on each frequency"
    return Method("gram-circular", summary, cost, compute, confirm, outdone_by="fft")


METHOD = method()
