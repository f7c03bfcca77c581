"""The distance to where a margin ends, by duality: above the closed form, as the true slopes are used.

Let g = z_y − z_t, K ≥ −λ_min(∇²g) everywhere and 0 ≤ η < 1/K.  For every x′ with g(x′) ≤ 0

    ½‖x′ − x‖² ≥ F(x′) = ½‖x′ − x‖² + ηg(x′),

and F is strongly convex with m = 1 − ηK, so that for *any* point x̂

    F(x′) ≥ F(x̂) − ‖∇F(x̂)‖²/(2m),      ∇F(x̂) = x̂ − x + η∇g(x̂).

Hence ‖x′ − x‖ ≥ √(2(F(x̂) − ‖∇F(x̂)‖²/(2m))).  ∎  Where the nearest point x* of the boundary has a
multiplier below 1/K, nothing is lost: that point and its η give ‖x* − x‖.  At x̂ = x the best η gives the
closed form of `curvature`.

**Search** (of x̂ and η; nothing rests on it).  x ↦ x − η∇g(x̂) with the η for which the linearised margin
vanishes there, or the largest allowed; shortened where the upper curvature makes plain steps overshoot.

**Rounding.**  F(x̂) is taken from below with the forward error of the logits, ‖∇F(x̂)‖ from above with the
error of the gradient; pixels that are not floats are off by 2u‖x‖, which is subtracted from the distance.
Logits that share a large offset lose most of their digits in F: an audit pays several times for that
(`Search.caution`), so that a longer search, at another x̂, does not fall short of what is told.

Singla, Feizi (2020), "Second-Order Provable Defenses against Adversarial Attacks", ICML, sec. 3; Nesterov
(2018), Lectures on Convex Optimization, 2.1.19, for the lower bound.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lipaudit.certify.curvature import DOWN, UP, Curvature, lengths
from lipaudit.rounding import UNDERFLOW, UNIT, gamma

__all__ = ["dual_radius"]

SHARE = 0.98
"""Of 1/K that η may reach: nearer, m and with it the proof's strength vanish."""


def dual_radius(
    bent: Curvature,
    evaluate: Callable[[Tensor], tuple[Tensor, Tensor]],
    x: Tensor,
    pairs: Tensor,
    margin: Tensor,
) -> Tensor:
    """(n,) lower bounds on the distance from x to z_y ≤ z_t, 0 where none is proved.

    Args:
        bent: the network's curvature.
        evaluate: logits (n, classes) and their error (n,), l2.
        x: (n, *input without its leading 1).
        pairs: (n, 2), y and t.
        margin: (n,) z_y − z_t at x, about.
    """
    point, factor = _searched(bent, x, pairs, margin)
    logits, error = evaluate(point)
    error = bent.search.caution * error
    there = _margin(logits, pairs)
    # Each difference of two logits sees at most √2 of their error.
    least = there - (4 * UNIT * there.abs() + 1.4142135623730952 * error * UP)
    slopes = bent.slopes(point, pairs)
    moved = point - x
    step = _times(factor, slopes.gradient)
    # `lengths` errs upward by less than 3γ, twice in a square; every entry of x̂ − x is rounded too.
    half = lengths(moved).square() / 2 * (1 - 8 * gamma(moved[0].numel() + 16)) - UNDERFLOW
    # Of x̂ − x, of η∇g and of their sum every entry is rounded.
    lost = 4 * UNIT * (lengths(moved) + lengths(step)) + factor * slopes.off
    missed = (lengths(moved + step) + lost) * UP
    convexity = (1 - factor * bent.table[pairs[:, 0], pairs[:, 1]] * UP) * DOWN
    spent = missed * missed / (2 * convexity) * UP
    value = half + factor * least
    value = value - 8 * UNIT * (half + factor * least.abs() + spent) - spent
    radius = (2 * value).clamp(min=0).sqrt() * DOWN - 4 * UNIT * lengths(x)
    radius = radius * (1 - bent.search.shave)
    sound = (convexity > 0) & value.isfinite() & (value > 0)
    return torch.where(sound, radius.clamp(min=0), 0.0)


def _searched(bent: Curvature, x: Tensor, pairs: Tensor, margin: Tensor) -> tuple[Tensor, Tensor]:
    """The best of the points that are met, and its η, which is below 1/K; `margin` is that of x."""
    y, t = pairs.unbind(1)
    below, above = bent.table[y, t], bent.table[t, y]
    point, open_ = x.clone(), torch.arange(len(x), device=x.device)
    best, factor = x.clone(), torch.zeros_like(below)
    value, before = torch.full_like(below, -torch.inf), torch.full_like(below, torch.inf)
    damping = torch.ones_like(below)
    constant: Tensor | None = None
    for _ in range(bent.search.steps + 1):
        there, gradient = bent.margins(point[open_], pairs[open_])
        constant = margin - there if constant is None else constant
        away = point[open_] - x[open_]
        left = there + constant[open_]
        ahead = left - (gradient * away).flatten(1).sum(1)
        wanted = (ahead / gradient.flatten(1).square().sum(1)).nan_to_num(0.0).clamp(min=0)
        eta = torch.minimum(wanted, SHARE / below[open_])
        missed = away + _times(eta, gradient)
        short, far = missed.flatten(1).norm(dim=1), away.flatten(1).norm(dim=1)
        now = far.square() / 2 + eta * left - short.square() / (2 * (1 - eta * below[open_]))
        ahead_of = now > value[open_]
        chosen = open_[ahead_of]
        best[chosen], factor[chosen], value[chosen] = point[chosen], eta[ahead_of], now[ahead_of]
        # The Hessian of F lies between 1 − ηK and 1 + ηK′: a plain step is right where that is near 1.
        # Where η moves from step to step that may not be enough: shorter steps end the swinging.
        damping[open_] *= torch.where(short > before[open_], 0.5, 1.0)
        before[open_] = short
        share = damping[open_] * 2 / (2 + eta * (above - below)[open_].clamp(min=0))
        point[open_] -= _times(share, missed)
        open_ = open_[~(short <= bent.search.settled * far)]
        if not len(open_):
            break
    return best, factor


def _margin(logits: Tensor, pairs: Tensor) -> Tensor:
    """z_y − z_t."""
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    rows = torch.arange(len(logits), device=logits.device)
    return logits[rows, pairs[:, 0]] - logits[rows, pairs[:, 1]]


def _times(factor: Tensor, values: Tensor) -> Tensor:
    """factor (n,) times values (n, …)."""
    return factor.reshape(-1, *[1] * (values.dim() - 1)) * values
