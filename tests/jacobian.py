"""The slow oracle for networks: the dense Jacobian of the original module, and its largest singular value.

Nothing of lipaudit's graph takes part: torch differentiates the module that was exported.  Every number
here is a lower bound on the Lipschitz constant (at a kink torch picks an element of the generalised
Jacobian for the functions used in these tests), so a bound below it is refuted.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

ROUNDING = 1e-12
"""How far a float64 Jacobian of these small networks may err, relatively."""

KINKS = (0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 6.0, 2.39936, -2.39936, 1.4142135, 1.49057)
"""Where the activations bend, or are steepest."""


def jacobian(module, x):
    """d module(x) / dx as an (outputs, inputs) matrix, x with its leading 1, in float64."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        full = torch.autograd.functional.jacobian(module, x.double(), vectorize=True)
    return full.reshape(-1, x.numel())


def jacobian_norm(module, x):
    """‖J(x)‖, rounded down by more than an SVD errs."""
    matrix = jacobian(module, x)
    if not bool(torch.isfinite(matrix).all()):
        return math.nan
    return float(torch.linalg.matrix_norm(matrix, ord=2)) * (1 - ROUNDING) if matrix.numel() else 0.0


def largest_slope(module, points):
    """The largest Jacobian norm over a batch of points (n, *sample)."""
    return max(jacobian_norm(module, point[None]) for point in points)


def outputs(module, points):
    """Module outputs sample by sample, as it was exported for batch 1: (n, outputs)."""
    with torch.no_grad():
        return torch.stack([module(point[None]).double().flatten() for point in points])


def probes(shape: tuple[int, ...], count: int = 3, seed: int = 0) -> Tensor:
    """Random, tied, tiny, large, constant and kinked points of `shape` (leading 1): (n, *shape[1:])."""
    generator = torch.Generator().manual_seed(seed)
    size = (count, *shape[1:])

    def normal():
        return torch.randn(size, generator=generator, dtype=torch.float64)

    kinks = torch.tensor(KINKS, dtype=torch.float64)
    drawn = torch.randint(len(KINKS), size, generator=generator)
    fixed = torch.tensor([0.0, 1.0, -1.0], dtype=torch.float64).reshape(-1, *[1] * len(shape[1:]))
    return torch.cat(
        [normal(), 5 * normal(), 1e-3 * normal(), normal().round(), kinks[drawn], fixed.expand(3, *shape[1:])]
    )


def quotient(module, a, b):
    """The largest ‖f(a) − f(b)‖/‖a − b‖ over pairs at least 1e-4 apart, rounded down."""
    rise = (outputs(module, a) - outputs(module, b)).norm(dim=1)
    run = (a - b).flatten(1).norm(dim=1)
    scale = outputs(module, a).norm(dim=1) + outputs(module, b).norm(dim=1)
    far = run > 1e-4
    return float(((rise - 1e-13 * scale) / run)[far].max()) if bool(far.any()) else 0.0


def steepest_pairs(module, points, lengths=(1e-3, 0.1, 1.0, 10.0)):
    """Pairs along the top singular vector of the Jacobian at each point: (a, b)."""
    ends = []
    for point in points:
        matrix = jacobian(module, point[None])
        if not bool(torch.isfinite(matrix).all()) or not matrix.numel():
            continue
        direction = torch.linalg.svd(matrix, full_matrices=True).Vh[0].reshape(point.shape)
        ends += [(point - length * direction / 2, point + length * direction / 2) for length in lengths]
    return torch.stack([a for a, _ in ends]), torch.stack([b for _, b in ends])
