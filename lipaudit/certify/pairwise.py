"""Bounds on differences of logits: L_yj ≥ Lip(z_y − z_j).

Always √2·L, since |(z_y − z_j)(x) − (z_y − z_j)(x')| ≤ √2‖z(x) − z(x')‖.  When the last map is
z = W f(x) + b, the margin does not see directions in which all logits move together.  With p = w_y − w_j and
D(p, v) ≥ Lip(p·v) for a value v of the network,

    D(p, v) ≤ ‖p‖·L_v                                always,
    D(p, v) ≤ D(pA, u)                               if v = Au + c,
    D(p, v) ≤ s/2·(D(p, u) + ‖p‖·L_u)                if v = φ(u), entrywise with slopes in [0, s].

Proof of the last: φ = s/2·(Id + Q) with Q = 2φ/s − Id, whose slopes lie in [−1, 1], so that
|p·(Q(u) − Q(u'))| ≤ ‖p‖‖u − u'‖. ∎  All pairs follow from the rows of W, WA, WAA', …: (w_y − w_j)A is a
difference of rows of WA.  A row of a product in float64 is off by at most γ_n‖row‖|A|_F, and carries on what
it was off before.

Tsuzuku, Sato, Sugiyama (2018), "Lipschitz-Margin Training", NeurIPS, prop. 1 and 2; Combettes, Pesquet
(2020), SIAM J. Math. Data Sci. 2(2), for averaged activations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.compose import NetworkBound
from lipaudit.graph.graph import LayerGraph
from lipaudit.ops.activation import Elementwise
from lipaudit.ops.linear import Linear
from lipaudit.rounding import UNDERFLOW, UNIT, gamma, mul_up, sqrt_up

__all__ = ["pair_constants"]

SLACK = 1 + 64 * UNIT
"""More than the few operations on single entries of a table round."""
FEATURES = "‖w_y − w_j‖·L of the features"
THROUGH = "w_y − w_j through the last dense layers"


def pair_constants(graph: LayerGraph, bound: NetworkBound) -> tuple[Tensor, str]:
    """(classes, classes) float64 matrix of upper bounds on Lip(z_y − z_j), and how it was obtained.

    The diagonal is 0.  With one output there are no pairs: the matrix is [[L]] (the margin is |z|).
    """
    node = graph.node(graph.output)
    classes = math.prod(graph.shape_of(graph.output))
    if classes == 1:
        return torch.tensor([[bound.total.value]], dtype=torch.float64), "L of the single logit"
    general = mul_up(sqrt_up(2.0), bound.total.value)
    table, how = torch.full((classes, classes), general, dtype=torch.float64), "√2·L"
    if node is not None and isinstance(node.op, Linear) and node.op.weight.shape[0] == classes:
        rows = _Rows.of(node.op)
        features = _plain(rows, bound.running[node.inputs[0]])
        through = _through(graph, bound, node.inputs[0], rows)
        how = THROUGH if bool((through < features).any()) else FEATURES
        table = torch.minimum(table, through)
    return table.fill_diagonal_(0.0), how


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Rows w_y A A' … (classes, n) as computed, each off by at most `off` (classes,)."""

    values: Tensor
    off: Tensor

    @classmethod
    def of(cls, linear: Linear) -> _Rows:
        W = linear.weight.double().cpu()
        return cls(W, gamma(linear.ulps) * _sizes(W) if linear.ulps else W.new_zeros(len(W)))

    def times(self, linear: Linear) -> _Rows:
        """The rows times a layer's matrix."""
        A = linear.weight.double().cpu()
        size = _sizes(A.reshape(1, -1))
        lost = (gamma(A.shape[0] + 2) + gamma(linear.ulps + 1)) * (_sizes(self.values) + self.off)
        return _Rows(self.values @ A, ((self.off + 2 * lost) * size + UNDERFLOW) * SLACK)

    def distances(self) -> Tensor:
        """‖row y − row j‖ for all pairs, rounded up."""
        apart = torch.stack([torch.linalg.vector_norm(row - self.values, dim=1) for row in self.values])
        # Subtraction, squares, sum, root: γ_{n+8} relative; tiny differences may underflow in the squares.
        relative = 1 + 2 * gamma(self.values.shape[1] + 8)
        found: Tensor = (apart * relative + (self.off[:, None] + self.off) + UNDERFLOW) * SLACK
        return found.nan_to_num(nan=math.inf, posinf=math.inf)


def _sizes(rows: Tensor) -> Tensor:
    """‖row‖, rounded up."""
    found: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return found * (1 + 2 * gamma(rows.shape[1] + 8)) + UNDERFLOW


def _plain(rows: _Rows, constant: float) -> Tensor:
    """‖p‖·L_v; distances are never 0, so that an infinite L stays infinite."""
    return rows.distances() * constant * SLACK


def _through(graph: LayerGraph, bound: NetworkBound, name: str, rows: _Rows) -> Tensor:
    """D(p, v) for the value of that name."""
    best, node = _plain(rows, bound.running[name]), graph.node(name)
    if node is None:
        return best
    before = node.inputs[0]
    if isinstance(node.op, Linear) and node.op.weight.shape[0] == math.prod(node.shape):
        return torch.minimum(best, _through(graph, bound, before, rows.times(node.op)))
    if isinstance(node.op, Elementwise) and node.op.monotone01:
        either = _through(graph, bound, before, rows) + _plain(rows, bound.running[before])
        return torch.minimum(best, node.op.slope / 2 * either * SLACK)
    return best
