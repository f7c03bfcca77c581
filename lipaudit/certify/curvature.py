"""Radii of second order: what gradient and curvature of g = z_y − z_t prove, with one hidden layer.

With K ≥ −λ_min(∇²g) everywhere (`hessian`), g(x + δ) ≥ g(x) − ‖∇g(x)‖‖δ‖ − K‖δ‖²/2 by Taylor's theorem,
which stays positive while

    ‖δ‖ < 2g/(γ + √(γ² + 2Kg)),      γ ≥ ‖∇g(x)‖, g = g(x) > 0

(the root of a quadratic, without cancellation).

**Rounding.**  Let z = Wφ(u) + d, u = Jx + a and c = w_y − w_t.  Pixels that are not floats are off by 2u‖x‖,
which the hidden layer's own error e_u covers.  The gradient Jᵀ(c∘φ′(u)) is evaluated with v̂ for v =
c∘φ′(u), and

    ‖v̂ − v‖ ≤ s‖ĉ − c‖ + max_j|ĉ_j|·max|φ″|·e_u + EVALUATED·u‖ĉ‖,      s = sup|φ′|,
    ‖ĝ − ∇g‖ ≤ off·‖v̂‖ + ‖J‖·‖v̂ − v‖                                    (`two_layer`),

since φ′ is Lipschitz with max|φ″|.

Singla, Feizi (2020), "Second-Order Provable Defenses against Adversarial Attacks", ICML; Singla, Feizi
(2021), "Fantastic Four", ICLR, for two-layer networks with convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.analyze import Layer
from lipaudit.certify.forward_error import with_error
from lipaudit.certify.hessian import hessian_bounds
from lipaudit.certify.two_layer import TwoLayer, pulled, two_layer
from lipaudit.compose import NetworkBound
from lipaudit.graph.graph import LayerGraph
from lipaudit.ops.smooth import EVALUATED
from lipaudit.rounding import UNDERFLOW, UNIT, gamma

__all__ = [
    "DOWN",
    "PATIENT",
    "UP",
    "Curvature",
    "Search",
    "Slopes",
    "bent_radius",
    "curvature",
    "lengths",
]

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]
CLOSE = 1e-9
"""Far above what rounds, far below what a wrong adjoint gives."""
CAUTION = 4.0
"""How many times an audit pays for rounding.

A value that is off by at most e is told as value − 4e.  Whoever evaluates it again, at a point nearby or with
sums in another order, is off by e as well, finds at least value − 2e, pays once, and proves value − 3e.
"""
UP, DOWN = 1 + 64 * UNIT, 1 - 64 * UNIT
"""More than the few operations on single numbers round."""
MOST_WORK = 2e10
"""Entries of all differences of rows of W together, up to which they are formed."""


@dataclass(frozen=True, slots=True)
class Search:
    """How long a distance is searched for (`dual`), and how much of it is told.

    Args:
        steps: at most so many.
        settled: of a point's distance may ‖∇F‖ be where the search ends; the square of it is lost, over 2m.
        shave: of the distance found is left out, relatively.
        caution: how many times rounding is paid for.
    """

    steps: int
    settled: float
    shave: float
    caution: float


QUICK = Search(40, 1e-3, 1e-9, CAUTION)
PATIENT = Search(400, 1e-6, 0.0, 1.0)
"""Finds what `QUICK` found once more, whatever the last bits of either do: for those who check a radius."""


@dataclass(frozen=True, slots=True, eq=False)
class Slopes:
    """Of z_y − z_t at some points: the gradient as computed (n, *input), and how far it is off (n,), l2."""

    gradient: Tensor
    off: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Curvature:
    """What a certificate of second order needs.

    Args:
        net: the network.
        table: K_yt, (classes, classes); 2 classes where there is one logit.
        hidden: from a batch of inputs to the hidden layer (n, units) and its error (n,).
        search: how long the dual is searched for.
    """

    net: TwoLayer
    table: Tensor
    hidden: Callable[[Tensor], tuple[Tensor, Tensor]]
    search: Search = QUICK

    @property
    def largest(self) -> float:
        """Of all pairs."""
        return float(self.table.max())

    def least(self, predicted: int) -> float:
        """Of all pairs of that class and another one."""
        row = self.table[predicted]
        return float(torch.cat([row[:predicted], row[predicted + 1 :]]).min())

    def slopes(self, x: Tensor, pairs: Tensor) -> Slopes:
        """Gradients of z_y − z_t.

        Args:
            x: (n, *input without its leading 1).
            pairs: (n, 2), y and t.
        """
        net = self.net
        values, unsure = self.hidden(x)
        c = net.rows[pairs[:, 0]] - net.rows[pairs[:, 1]]
        bend = max(-net.smooth.lowest, net.smooth.highest)
        # The difference of two rows, each off by rows_off, is itself rounded.
        apart = 2 * net.rows_off + UNIT * lengths(c)
        v = c * net.smooth.derivative(values)
        lost = net.slope * apart + c.abs().amax(1) * bend * unsure + EVALUATED * UNIT * lengths(c)
        gradient = pulled(net, v.reshape(len(v), *net.activation.shape))
        off = (net.pull_off * lengths(v) + net.norm * lost + UNDERFLOW) * UP
        return Slopes(gradient, self.search.caution * off)

    def margins(self, x: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """z_y − z_t but for a constant, and its gradient: what a search needs, with no word on rounding."""
        net = self.net
        c = net.rows[pairs[:, 0]] - net.rows[pairs[:, 1]]
        values, pull = torch.func.vjp(net.inner.run, x)[:2]
        bent = net.activation.op.forward(values)
        gradient: Tensor = pull(c.reshape(values.shape) * net.smooth.derivative(values))[0]
        return (c * bent.flatten(1)).sum(1), gradient


def curvature(graph: LayerGraph, layers: Sequence[Layer], bound: NetworkBound) -> Curvature | None:
    """The curvature of the network's margins; None if it is none of those whose curvature is known.

    Args:
        graph: from the threat space to logits.
        layers: its gains.
        bound: what is proved of its values.
    """
    net = two_layer(graph, layers, bound)
    if net is None or net.rows.numel() * len(net.rows) > MOST_WORK:
        return None
    held = {node.name for node in net.inner}
    of_one = with_error(net.inner, [layer for layer in layers if layer.node.name in held])
    of_many: Evaluate = torch.vmap(lambda x: of_one(x.unsqueeze(0)))
    return Curvature(net, hessian_bounds(net), of_many) if _runs_together(net, of_one, of_many) else None


def _runs_together(net: TwoLayer, of_one: Evaluate, of_many: Evaluate) -> bool:
    """Whether many samples at once give what each gives alone, and the adjoint fits: ⟨v, Jx⟩ = ⟨Jᵀv, x⟩."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, *net.inner.input_shape[1:], generator=generator, dtype=torch.float64)
    x[0] = 0.0
    v = torch.randn(3, *net.activation.shape, generator=generator, dtype=torch.float64)
    x, v = x.to(net.inner.device), v.to(net.inner.device)
    try:
        values, unsure = of_many(x)
        alone = [of_one(point.unsqueeze(0)) for point in x]
        there = (pulled(net, v) * x).flatten(1).sum(1)
    except RuntimeError:  # an operation without a rule for batches
        return False
    apart = lengths(values - torch.stack([value for value, _ in alone]))
    here = (v.flatten(1) * (values - values[0])).sum(1)
    size = net.norm * lengths(v) * lengths(x) * CLOSE + 4 * lengths(v) * unsure
    together = apart <= 4 * (unsure + torch.stack([error for _, error in alone]) + UNDERFLOW)
    return bool((together & ((here - there).abs() <= size)).all())


def bent_radius(slack: Tensor, slope: Tensor, bend: Tensor) -> Tensor:
    """2g/(γ + √(γ² + 2Kg)), rounded down; 0 where anything is not finite.

    Args:
        slack: g, from below; what is not positive gives 0.
        slope: γ, from above.
        bend: K, from above.
    """
    # Of γ ≥ UNDERFLOW the square does not underflow, and what does beside it is too small to be seen.
    slope = slope + UNDERFLOW
    root = (slope * slope + 2 * bend * slack) * UP
    radius = 2 * slack / ((slope + root.sqrt()) * UP) * DOWN
    sound = (slack > 0) & radius.isfinite() & root.isfinite()
    return torch.where(sound, radius, 0.0)


def lengths(v: Tensor) -> Tensor:
    """‖v‖ of each row (n, …), rounded up."""
    flat = v.flatten(1)
    found: Tensor = torch.linalg.vector_norm(flat, dim=1)
    return found * (1 + 2 * gamma(flat.shape[1] + 8)) + UNDERFLOW
