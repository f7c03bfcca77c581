"""Certified l2 radii from margins.

    radius(x) = min over ALL j ≠ y of (z_y − z_j − rounding) / L_yj,      y = argmax z = label,

0 for wrongly predicted samples, ties and anything that is not finite.  Inside the radius every rival
stays below y: |(z_y − z_j)(x') − (z_y − z_j)(x)| ≤ L_yj‖x' − x‖.  The nearest rival in margin need not be the
nearest in radius, so all are taken.

One logit z (binary, class 1 if z > 0): radius = (|z| − rounding)/L.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.rounding import UNIT

__all__ = ["Radii", "certified_radii"]

DOWN = 1 - 16 * UNIT
"""Pays for the few roundings of subtracting and dividing."""


@dataclass(frozen=True, slots=True, eq=False)
class Radii:
    """Per sample, shape (n,): predicted class, margin (real numbers, rounded down), certified radius."""

    predicted: Tensor
    margin: Tensor
    radius: Tensor
    correct: Tensor
    finite: Tensor


def certified_radii(logits: Tensor, error: Tensor, labels: Tensor, constants: Tensor) -> Radii:
    """Radii of a batch.

    Args:
        logits: (n, classes) float64 as computed.
        error: (n,) bound on ‖computed − exact‖₂ of each row.
        labels: (n,) int64.
        constants: (classes, classes) from `pair_constants`.
    """
    finite = torch.isfinite(logits).all(dim=1)
    safe = torch.where(torch.isfinite(logits), logits, 0.0)
    if logits.shape[1] == 1:
        predicted = (safe[:, 0] > 0).long()
        margin = safe[:, 0].abs()
        gaps, lipschitz, rounding = margin[:, None], constants.expand(len(safe), 1), error[:, None]
    else:
        predicted = safe.argmax(dim=1)
        rows = torch.arange(len(safe), device=safe.device)
        gaps = safe[rows, predicted, None] - safe
        # Each difference of two logits sees at most √2 of the l2 error.
        lipschitz, rounding = constants[predicted], (1.4142135623730952 * error)[:, None].expand_as(gaps)
        gaps[rows, predicted] = torch.inf
        rounding = rounding.clone()
        rounding[rows, predicted] = 0.0
    slack = (gaps * (1 - 4 * UNIT) - rounding * (1 + 4 * UNIT)) * DOWN
    # A rival with constant 0 keeps its distance for ever; a tie or worse certifies nothing.
    quotient = torch.where(lipschitz > 0, slack / lipschitz, torch.where(slack > 0, torch.inf, 0.0))
    quotient = torch.where(
        torch.isfinite(lipschitz), quotient, torch.where(gaps == torch.inf, torch.inf, 0.0)
    )
    smallest = quotient.amin(dim=1) * DOWN
    correct = finite & (predicted == labels)
    radius = torch.where(correct & (slack > 0).all(dim=1), smallest.clamp(min=0.0), 0.0)
    margin = torch.where(finite, slack.amin(dim=1), torch.nan)
    return Radii(predicted, margin, torch.nan_to_num(radius, nan=0.0, posinf=torch.inf), correct, finite)
