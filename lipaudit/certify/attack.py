"""The program attacks its own claims.

**Ascent** on the Lipschitz ratio: from a few points, power iteration on the Jacobian gives a direction,
then pairs (x, x') are moved uphill on ‖f(x) − f(x')‖/‖x − x'‖.  The best pair is re-evaluated in float64 and
the forward errors of both ends are subtracted, so the ratio is a witness: Lip(f) ≥ ratio.

**l2 attack** inside certified radii: projected gradient ascent on the best rival's logit.  A hit counts
only if the rival wins by more than the forward error at a point that provably lies in the ball.

Either success contradicts a proof, so it is an internal error, never a warning.

Croce, Hein (2020), "Reliable evaluation of adversarial robustness", ICML (step-size decay, restarts).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.bound import Estimate
from lipaudit.graph.derivative import pushforward
from lipaudit.graph.graph import batched
from lipaudit.rounding import UNDERFLOW, UNIT, div_down, gamma, mul_up

__all__ = ["Ascent", "Evaluate", "L2Attack", "ascend", "attack_balls"]

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]
"""One sample (leading 1) → (outputs flattened, l2 bound on their rounding error)."""


@dataclass(frozen=True, slots=True)
class Ascent:
    """Effort of the ratio ascent: `climbers` of the starting points, those of largest slope, go on."""

    power_steps: int = 6
    climb_steps: int = 20
    climbers: int = 4


@dataclass(frozen=True, slots=True)
class L2Attack:
    """What an attack on certified samples did: how many samples, steps each, and hits (none survives)."""

    samples: int
    steps: int
    hits: int


def ascend(evaluate: Evaluate, points: Tensor, effort: Ascent) -> Estimate:
    """A witnessed lower bound on the global Lipschitz constant.

    Args:
        evaluate: the network with its forward error.
        points: (n, *sample) float64 starting points.
        effort: how many steps.
    """
    outputs = batched(lambda x: evaluate(x)[0])
    with torch.backends.cudnn.flags(enabled=False):
        direction, slopes = _top_direction(outputs, points, effort.power_steps)
        steepest = slopes.topk(min(effort.climbers, len(points))).indices
        points, direction = points[steepest], direction[steepest]
        best = 0.0
        for scale in (1e-3, 1e-1, 1.0):
            best = max(best, _best_ratio(evaluate, points, points + scale * direction))
        near, far = _climb(outputs, points, points + 1e-1 * direction, effort.climb_steps)
        best = max(best, _best_ratio(evaluate, near, far))
    return Estimate(best, "ascent", "a pair of inputs whose outputs differ by this factor")


def _top_direction(outputs: Callable[[Tensor], Tensor], points: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """At each point a unit direction in which the outputs move most, and about how much."""
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(points.shape, generator=generator, dtype=torch.float64).to(points)
    pull = torch.func.vjp(outputs, points)[1]
    slopes = torch.zeros(len(points)).to(points)
    for _ in range(steps):
        v = _unit(v)
        image = pushforward(outputs, points, v)
        slopes = torch.nan_to_num(torch.linalg.vector_norm(image, dim=1))
        (v,) = pull(image)
    return _unit(torch.nan_to_num(v)), slopes


def _unit(v: Tensor) -> Tensor:
    norms = torch.linalg.vector_norm(v.flatten(1), dim=1).clamp(min=1e-300)
    result: Tensor = v / norms.reshape(-1, *[1] * (v.dim() - 1))
    return result


def _climb(
    outputs: Callable[[Tensor], Tensor], near: Tensor, far: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Move both ends uphill on the logarithm of the ratio."""

    def height(ends: tuple[Tensor, Tensor]) -> Tensor:
        rise = torch.linalg.vector_norm(outputs(ends[0]) - outputs(ends[1]), dim=1)
        run = torch.linalg.vector_norm((ends[0] - ends[1]).flatten(1), dim=1)
        total: Tensor = (rise.clamp(min=1e-300).log() - run.clamp(min=1e-300).log()).sum()
        return total

    for step in range(steps):
        up = torch.func.grad(height)((near, far))
        length = torch.linalg.vector_norm((near - far).flatten(1), dim=1)
        rate = (0.3 * (1 - step / steps) * length).reshape(-1, *[1] * (near.dim() - 1))
        near = near + rate * _unit(torch.nan_to_num(up[0]))
        far = far + rate * _unit(torch.nan_to_num(up[1]))
    return near, far


def _best_ratio(evaluate: Evaluate, near: Tensor, far: Tensor) -> float:
    """The largest proved ratio of the pairs, rounded down."""
    lifted = torch.vmap(lambda x: evaluate(x.unsqueeze(0)))
    (a, ea), (b, eb) = lifted(near), lifted(far)
    rise = torch.linalg.vector_norm(a - b, dim=1) * (1 - 4 * gamma(a.shape[1] + 8))
    rise = rise - (ea + eb) * (1 + 8 * UNIT)
    # The ends are exact doubles, so only the distance itself is rounded.
    run = torch.linalg.vector_norm((near - far).flatten(1), dim=1) * (1 + 4 * gamma(near[0].numel() + 8))
    run = run + UNDERFLOW
    ratios = [div_down(max(0.0, float(r)), float(d)) for r, d in zip(rise, run, strict=True) if d > 0]
    return max((r for r in ratios if math.isfinite(r)), default=0.0)


def attack_balls(
    evaluate: Evaluate, images: Tensor, labels: Tensor, radii: Tensor, steps: int = 20
) -> tuple[L2Attack, list[int]]:
    """Search each ball for a point where another class provably wins.

    Args:
        evaluate: the network with its forward error.
        images: (n, *sample) float64, correctly classified with positive radius.
        labels: (n,) their classes.
        steps: of gradient ascent, each followed by a projection.
        radii: (n,) certified, finite.

    Returns:
        What was done, and the positions of the hits.
    """
    if not len(images):
        return L2Attack(0, steps, 0), []
    outputs = batched(lambda x: evaluate(x)[0])
    shape = (-1, *[1] * (images.dim() - 1))
    # The ball is shrunk by more than the rounding of measuring ‖δ‖.
    bound = (radii * (1 - 1e-12)).reshape(shape)

    def rival(x: Tensor) -> Tensor:
        return _lead(outputs(x), labels).sum()

    delta = torch.zeros_like(images)
    best, best_delta = torch.full_like(radii, -torch.inf), delta
    with torch.backends.cudnn.flags(enabled=False):
        for step in range(steps):
            up = torch.nan_to_num(torch.func.grad(rival)(images + delta))
            delta = delta + (2.0 * (1 - step / steps) * bound) * _unit(up)
            size = torch.linalg.vector_norm(delta.flatten(1), dim=1).reshape(shape)
            delta = torch.where(size > bound, delta * (bound / size.clamp(min=1e-300)), delta)
            lead = _lead(outputs(images + delta), labels)
            best_delta = torch.where((lead > best).reshape(shape), delta, best_delta)
            best = torch.maximum(best, lead)
        reached = images + best_delta
        logits, error = torch.vmap(lambda x: evaluate(x.unsqueeze(0)))(reached)
    wins = _lead(logits, labels) - 1.5 * error * (1 + 8 * UNIT)
    hits = []
    for i in (wins > 0).nonzero().flatten().tolist():
        distance = float(torch.linalg.vector_norm(reached[i] - images[i])) + UNDERFLOW
        if mul_up(distance, 1 + 4 * gamma(reached[i].numel() + 8)) <= float(radii[i]):
            hits.append(i)
    return L2Attack(len(images), steps, len(hits)), hits


def _lead(logits: Tensor, labels: Tensor) -> Tensor:
    """By how much the best rival leads (negative while the label wins)."""
    if logits.shape[1] == 1:
        return torch.where(labels > 0, -logits[:, 0], logits[:, 0])
    own = torch.zeros_like(logits, dtype=torch.bool)
    own[torch.arange(len(labels)), labels] = True
    kept = torch.where(own, logits, 0.0).sum(dim=1)
    return torch.where(own, -torch.inf, logits).amax(dim=1) - kept
