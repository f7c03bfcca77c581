"""Radii of second order beside those of the margin: the larger one of each rival, of all rivals the least.

Both are distances within which a rival stays behind, so either may be taken for each rival:

    radius(x) = min over j ≠ y of max(slack_yj/L_yj, closed form, dual).

Only a rival that is the nearest one so far is looked at, as the others cannot raise the minimum; the dual,
which costs more, where the closed form has been.

No radius exceeds √(2·slack/K), to which the closed form falls without a gradient: F(x̂) of `dual` is at most
F(x) = η·g(x) < g(x)/K at its minimiser.  So a stored radius can be held against its margin without the data.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lipaudit.certify.curvature import DOWN, Curvature, bent_radius, lengths
from lipaudit.certify.dual import dual_radius
from lipaudit.certify.radius import Radii, Rivals, radii_of

__all__ = ["bent_radii"]

MOST_RIVALS = 24
"""Rivals of one sample that are looked at."""


def bent_radii(
    bent: Curvature,
    evaluate: Callable[[Tensor], tuple[Tensor, Tensor]],
    x: Tensor,
    labels: Tensor,
    rivals: Rivals,
) -> Radii:
    """Radii of a batch.

    Args:
        bent: the network's curvature.
        evaluate: logits (n, classes) and their error (n,), l2.
        x: (n, *input without its leading 1).
        labels: (n,) int64.
        rivals: what the margins prove.
    """
    reach = rivals.reach.clone()
    hopeful = (rivals.predicted == labels) & rivals.finite & (rivals.slack > 0).all(dim=1)

    def closed(rows: Tensor, pairs: Tensor, slack: Tensor, bend: Tensor) -> Tensor:
        slopes = bent.slopes(x[rows], pairs)
        return bent_radius(slack, (lengths(slopes.gradient) + slopes.off) / DOWN, bend)

    def dual(rows: Tensor, pairs: Tensor, slack: Tensor, bend: Tensor) -> Tensor:
        # No more than the margin allows for without a gradient.
        most = (2 * slack / bend).sqrt() * DOWN
        return torch.minimum(dual_radius(bent, evaluate, x[rows], pairs, slack), most)

    for distance in (closed, dual):
        seen = torch.zeros_like(reach, dtype=torch.bool)
        for _ in range(min(MOST_RIVALS, reach.shape[1])):
            nearest = reach.argmin(dim=1)
            rows = (hopeful & ~seen.gather(1, nearest[:, None])[:, 0]).nonzero().flatten()
            if not len(rows):
                break
            column, y = nearest[rows], rivals.predicted[rows]
            seen[rows, column] = True
            pairs = torch.stack([y, column if reach.shape[1] > 1 else 1 - y], dim=1)
            found = distance(rows, pairs, rivals.slack[rows, column], bent.table[pairs[:, 0], pairs[:, 1]])
            reach[rows, column] = torch.maximum(reach[rows, column], found)
    return radii_of(rivals, labels, reach)
