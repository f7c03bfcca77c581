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

__all__ = ["Radii", "Rivals", "certified_radii", "radii_of", "rivals_of"]

DOWN = 1 - 16 * UNIT
"""Pays for the few roundings of subtracting and dividing."""


@dataclass(frozen=True, slots=True, eq=False)
class Radii:
    """Per sample, shape (n,): predicted class, margin (real numbers, rounded down), certified radius.

    `bent` says where the radius is one of second order (`curvature`) that exceeds `plain`, what the
    margin gives.
    """

    predicted: Tensor
    margin: Tensor
    radius: Tensor
    correct: Tensor
    finite: Tensor
    bent: Tensor
    plain: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Rivals:
    """Per sample, and per rival the margin that is left after rounding and the distance that it proves.

    Args:
        predicted: (n,).
        finite: (n,) whether the logits are.
        slack: (n, classes), inf for the predicted class itself; (n, 1) where there is one logit.
        reach: the same shape, before anything is said of ties and wrong answers.
    """

    predicted: Tensor
    finite: Tensor
    slack: Tensor
    reach: Tensor


def certified_radii(logits: Tensor, error: Tensor, labels: Tensor, constants: Tensor) -> Radii:
    """Radii of a batch.

    Args:
        logits: (n, classes) float64 as computed.
        error: (n,) bound on ‖computed − exact‖₂ of each row.
        labels: (n,) int64.
        constants: (classes, classes) from `pair_constants`.
    """
    return radii_of(rivals_of(logits, error, constants), labels)


def rivals_of(logits: Tensor, error: Tensor, constants: Tensor) -> Rivals:
    """What the margins of a batch prove; arguments as for `certified_radii`."""
    finite = torch.isfinite(logits).all(dim=1)
    safe = torch.where(torch.isfinite(logits), logits, 0.0)
    if logits.shape[1] == 1:
        predicted = (safe[:, 0] > 0).long()
        gaps = safe.abs()
        lipschitz, rounding = constants.expand(len(safe), 1), error[:, None]
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
    return Rivals(predicted, finite, slack, quotient)


def radii_of(rivals: Rivals, labels: Tensor, reach: Tensor | None = None) -> Radii:
    """The nearest rival's distance, where the answer is right and every rival lies behind.

    Args:
        rivals: of a batch.
        labels: (n,) int64.
        reach: distances of the rivals that are proved besides, none below `rivals.reach`.
    """
    correct = rivals.finite & (rivals.predicted == labels)
    certified = correct & (rivals.slack > 0).all(dim=1)

    def nearest(distances: Tensor) -> Tensor:
        smallest = torch.where(certified, (distances.amin(dim=1) * DOWN).clamp(min=0.0), 0.0)
        return torch.nan_to_num(smallest, nan=0.0, posinf=torch.inf)

    plain = nearest(rivals.reach)
    radius = plain if reach is None else nearest(reach)
    margin = torch.where(rivals.finite, rivals.slack.amin(dim=1), torch.nan)
    return Radii(rivals.predicted, margin, radius, correct, rivals.finite, radius > plain, plain)
