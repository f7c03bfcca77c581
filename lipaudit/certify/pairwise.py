"""Bounds on differences of logits: L_yj ≥ Lip(z_y − z_j).

Always √2·L, since |(z_y − z_j)(x) − (z_y − z_j)(x')| ≤ √2‖z(x) − z(x')‖.  When the last map is
z = W f(x) + b,

    Lip(z_y − z_j) ≤ ‖w_y − w_j‖·L_f,

usually much smaller: the margin does not see directions in which all logits move together.

Tsuzuku, Sato, Sugiyama (2018), "Lipschitz-Margin Training", NeurIPS, prop. 1 and 2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lipaudit.compose import NetworkBound
from lipaudit.graph.graph import LayerGraph
from lipaudit.ops.linear import Linear
from lipaudit.rounding import UNIT, gamma, mul_up, sqrt_up

__all__ = ["pair_constants"]


def pair_constants(graph: LayerGraph, bound: NetworkBound) -> tuple[Tensor, str]:
    """(classes, classes) float64 matrix of upper bounds on Lip(z_y − z_j), and how it was obtained.

    The diagonal is 0.  With one output there are no pairs: the matrix is [[L]] (the margin is |z|).
    """
    node = graph.node(graph.output)
    classes = 1
    for n in graph.shape_of(graph.output):
        classes *= n
    if classes == 1:
        return torch.tensor([[bound.total.value]], dtype=torch.float64), "L of the single logit"
    general = mul_up(sqrt_up(2.0), bound.total.value)
    table = torch.full((classes, classes), general, dtype=torch.float64)
    how = "√2·L"
    if node is not None and isinstance(node.op, Linear) and node.op.weight.shape[0] == classes:
        features = bound.running[node.inputs[0]]
        pairs = _row_distances(node.op)
        scaled = torch.tensor(
            [[mul_up(float(d), features) for d in row] for row in pairs], dtype=torch.float64
        )
        table = torch.minimum(table, scaled)
        how = "‖w_y − w_j‖·L of the features"
    return table.fill_diagonal_(0.0), how


def _row_distances(linear: Linear) -> Tensor:
    """‖w_y − w_j‖ for all pairs, rounded up, the rounding of folded weights included."""
    W = linear.weight.double().cpu()
    n = W.shape[1]
    difference = torch.stack([torch.linalg.vector_norm(row - W, dim=1) for row in W])
    sizes = torch.linalg.vector_norm(W, dim=1)
    fold = (gamma(linear.ulps) * (1 + 1e-9)) * (sizes[:, None] + sizes[None, :]) if linear.ulps else 0.0
    # Subtraction, squares, sum, root: γ_{n+8} relative; tiny differences may underflow in the squares.
    return (difference * (1 + 2 * gamma(n + 8)) + fold) * (1 + 8 * UNIT) + 2.0**-500
