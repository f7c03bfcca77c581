"""Small blocks with structure, and every way to break what the structure rests on.

A pattern is a function of x, of stored weights and of a `Twist`, which may replace any step of it.  Its
weights are drawn so that the untwisted block keeps what its family promises.  Twists of a block's structure
are exported once; other weights are written into the module in place, and the program is translated again.

The witness is automatic differentiation of the module in float64, and difference quotients: nothing of
lipaudit's takes part.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from lipschitz_nets import Weights
from perturbed_weights import BALANCED, SPOILT, spoilt
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn import functional as F  # noqa: N812 - torch's own convention

__all__ = ["ACTIVATIONS", "MOVES", "Draw", "Pattern", "Perturbed", "Twist", "draw", "witness"]

Function = Callable[..., Tensor]
Bend = Callable[[str, Tensor], Tensor]


def same(x: Tensor) -> Tensor:
    """x."""
    return x


@dataclass(frozen=True, slots=True, eq=False)
class Twist:
    """The steps of a block; what a pattern does not say itself is in `parts`.

    Args:
        phi: the activation (None: the pattern's own).
        start: what the branch reads, of x.
        beside: what it is joined with, of x.
        between: before the activation.
        behind: after it.
        end: of x, a hidden value and the output.
        parts: steps of the pattern that are replaced.
        shape: of x, if another one.
        keeps: whether the family's promise still holds.
    """

    phi: Function | None = None
    start: Function = same
    beside: Function = same
    between: Function = same
    behind: Function = same
    end: Function = lambda x, h, y: y  # noqa: ARG005 - named as in the docstring
    parts: Mapping[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None
    keeps: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """A kind of block.

    Args:
        shape: of x, leading 1 included.
        function: of a twist, x and the weights.
        weights: of a generator, a `random.Random` and a function applied to each raw tensor.
        spellings: twists that keep the promise.
        twists: those that need not.
        promise: the constant of untwisted blocks, if there is one.
        fires: claims or ops of which one is there in untwisted blocks.
    """

    name: str
    shape: tuple[int, ...]
    function: Callable[[Twist, Tensor, Weights], Tensor]
    weights: Callable[[torch.Generator, random.Random, Bend], Weights]
    spellings: Mapping[str, Twist]
    twists: Mapping[str, Twist]
    fires: frozenset[str]
    promise: float | None = None


class Perturbed(nn.Module):
    """A pattern with one twist; its weights may be written over."""

    def __init__(self, pattern: Pattern, twist: Twist, weights: Weights) -> None:
        super().__init__()
        self.pattern, self.twist = pattern, twist
        for name, value in weights.items():
            self.register_parameter(name, nn.Parameter(value.clone().contiguous(), requires_grad=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.pattern.function(self.twist, x, dict(self.named_parameters()))

    def fill(self, weights: Weights) -> None:
        """Other weights, in place."""
        for name, value in self.named_parameters():
            value.copy_(weights[name])


def channelwise(values: Tensor, x: Tensor) -> Tensor:
    """One number per channel, as a factor of x or a summand."""
    return values.reshape(-1, *[1] * (x.dim() - 2))


def _ramp(x: Tensor) -> Tensor:
    """A different factor for every channel, up to 2."""
    return x * channelwise(torch.linspace(0.5, 2.0, x.shape[1], dtype=x.dtype), x)


def _normalised(x: Tensor) -> Tensor:
    """Batch norm with stored statistics."""
    n = x.shape[1]
    mean, var = torch.linspace(-1, 1, n, dtype=x.dtype), torch.linspace(0.1, 2, n, dtype=x.dtype)
    return F.batch_norm(x, mean, var, torch.ones(n, dtype=x.dtype), training=False)


ACTIVATIONS: dict[str, Twist] = {
    name: Twist(phi=phi, keeps=keeps)
    for name, phi, keeps in (
        ("tanh", torch.tanh, True),
        ("leaky 0.2", lambda x: F.leaky_relu(x, 0.2), True),
        ("hardtanh", F.hardtanh, True),
        ("softplus", F.softplus, True),
        ("sigmoid", torch.sigmoid, True),
        ("relu6", F.relu6, True),
        ("elu", F.elu, False),
        ("gelu", F.gelu, False),
        ("silu", F.silu, False),
        ("mish", F.mish, False),
        ("hardswish", F.hardswish, False),
        ("leaky −0.5", lambda x: F.leaky_relu(x, -0.5), False),
        ("leaky 2", lambda x: F.leaky_relu(x, 2.0), False),
        ("abs", torch.abs, False),
        ("elu 3", lambda x: F.elu(x, 3.0), False),
        ("softplus −3", lambda x: F.softplus(x, beta=-3.0), False),
        ("relu of minus", lambda x: torch.relu(-x), False),
        ("minus relu", lambda x: -torch.relu(x), False),
        ("hardtanh, tripled", lambda x: F.hardtanh(3 * x), False),
        ("sine", torch.sin, False),
        ("clamp from below", lambda x: x.clamp(min=0.1), True),
        ("none", same, False),
    )
}
MOVES: dict[str, Function] = {
    "rolled": lambda x: x.roll(1, -1),
    "doubled": lambda x: 2 * x,
    "flipped": lambda x: x.flip(1),
    "negative": torch.neg,
    "bent": torch.relu,
    "by channels": _ramp,
    "some negative": lambda x: x * channelwise((-1.0) ** torch.arange(x.shape[1], dtype=x.dtype), x),
    "normalised": _normalised,
    "a hair larger": lambda x: x * (1 + 1e-6),
}
FLAT: dict[str, Twist] = {
    "output doubled": Twist(end=lambda x, h, y: 2 * y),  # noqa: ARG005
    "output negative": Twist(end=lambda x, h, y: -y, keeps=True),  # noqa: ARG005
    "inner value seen": Twist(end=lambda x, h, y: torch.cat([y.flatten(1), h.flatten(1)], 1)),  # noqa: ARG005
    "input seen": Twist(end=lambda x, h, y: torch.cat([y.flatten(1), x.flatten(1)], 1)),  # noqa: ARG005
    "output bent": Twist(end=lambda x, h, y: F.silu(y)),  # noqa: ARG005
}
SQUARE: dict[str, Twist] = {
    "skip added": Twist(end=lambda x, h, y: y + x),  # noqa: ARG005
    "skip taken away": Twist(end=lambda x, h, y: y - x),  # noqa: ARG005
    "averaged with the input": Twist(end=lambda x, h, y: 0.5 * (x + y), keeps=True),  # noqa: ARG005
    "moved skip added": Twist(end=lambda x, h, y: y + x.roll(1, -1)),  # noqa: ARG005
}


def moved(*places: str) -> dict[str, Twist]:
    """Each of `MOVES` at each of these places."""
    return {
        f"{place} {name}": Twist(**{place: move}, keeps=name == "negative" and place == "never")
        for place in places
        for name, move in MOVES.items()
    }


def bent() -> dict[str, Twist]:
    """Activations that break what is proved of slopes in [0, 1]."""
    return {name: twist for name, twist in ACTIVATIONS.items() if not twist.keeps}


def steady() -> dict[str, Twist]:
    """Those that do not."""
    return {name: twist for name, twist in ACTIVATIONS.items() if twist.keeps}


# Draws


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """A block with weights, the program exported from it, and whether nothing about it is broken."""

    name: str
    module: Perturbed
    program: ExportedProgram
    shape: tuple[int, ...]
    untwisted: bool


@cache
def exported(pattern: Pattern, name: str) -> tuple[Perturbed, ExportedProgram]:
    """The module with that twist and its program, which reads the module's own parameters."""
    twist = {**pattern.spellings, **pattern.twists}[name]
    weights = pattern.weights(torch.Generator().manual_seed(0), random.Random(0), lambda _, w: w)
    module = Perturbed(pattern, twist, weights).double().eval()
    with torch.no_grad():
        example = torch.zeros(twist.shape or pattern.shape, dtype=torch.float64)
        return module, torch.export.export(module, (example,))


def draw(pattern: Pattern, index: int) -> Draw:
    """The index-th block: in turn untwisted, twisted in its structure, and with a spoilt weight."""
    rng = random.Random(f"{pattern.name} {index}")
    g = torch.Generator().manual_seed(rng.randrange(1 << 40))
    kind, turn = index % 3, index // 3
    spellings = list(pattern.spellings)
    twists = random.Random(0).sample(list(pattern.twists), len(pattern.twists))
    name, bend, spoil = spellings[turn % len(spellings)], None, None
    if kind == 1 or (kind == 2 and rng.random() < 0.4):
        name = twists[turn % len(twists)] if kind == 1 else rng.choice(twists)
    if kind == 2:
        spoil = [*SPOILT, *BALANCED][turn % (len(SPOILT) + len(BALANCED))]
        bend = rng.random() < 0.3
    module, program = exported(pattern, name)

    def raw(_: str, w: Tensor) -> Tensor:
        return spoilt({"w": w}, spoil, rng)["w"] if bend and rng.random() < 0.7 else w

    weights = pattern.weights(g, rng, raw)
    if kind == 2 and not bend:
        weights = spoilt(weights, spoil, rng)
    # What is normalised by a norm of 0 is no number.
    module.fill({key: w.nan_to_num(0.0, 1e30, -1e30).clamp(-1e150, 1e150) for key, w in weights.items()})
    label = f"{pattern.name}, draw {index}: {name}" + (
        f", {spoil}{' before' if bend else ''}" if spoil else ""
    )
    shape = module.twist.shape or pattern.shape
    return Draw(label, module, program, shape, kind == 0)


# The witness


def slopes(module: nn.Module, points: Tensor) -> Tensor:
    """Jacobians (n, outputs, inputs) at points (n, *sample), by one pass backwards over copies of them."""
    with torch.no_grad():
        count = module(points[:1]).numel()
    copies = points.repeat_interleave(count, 0).requires_grad_()
    picked = module(copies).flatten(1)[torch.arange(len(copies)), torch.arange(count).repeat(len(points))]
    (rows,) = torch.autograd.grad(picked.sum(), copies)
    return rows.reshape(len(points), count, -1)


def norms(jacobians: Tensor) -> Tensor:
    """Largest singular values; 0 where an entry is no number."""
    finite = torch.isfinite(jacobians).flatten(1).all(1)
    found: Tensor = torch.linalg.matrix_norm(torch.where(finite[:, None, None], jacobians, 0.0), ord=2)
    return torch.where(torch.isfinite(found), found, 0.0)


def witness(module: Perturbed, shape: tuple[int, ...], seed: int = 0) -> float:
    """The largest slope found at random points of all sizes, around the steepest, and along its direction."""
    g = torch.Generator().manual_seed(seed)
    weight = next(p for name, p in module.named_parameters() if name != "b")
    unit = 1 / min(max(float(weight.abs().max()), 1e-200), 1e200)
    sizes = torch.tensor([1e-150, 1e-3, 0.3, 1.0, 1.0, 4.0, 100.0, unit, 3 * unit], dtype=torch.float64)

    def normal(count: int) -> Tensor:
        return torch.randn(count, *shape[1:], generator=g, dtype=torch.float64)

    def times(x: Tensor, factors: Tensor) -> Tensor:
        return x * factors.reshape(-1, *[1] * (x.dim() - 1))

    points = times(normal(2 * len(sizes)), sizes.repeat(2))
    found = norms(slopes(module, points))
    for spread in (0.5, 0.05):
        best = points[int(found.argmax())]
        near = best + spread * best.abs().mean() * normal(6)
        points, found = torch.cat([points, near]), torch.cat([found, norms(slopes(module, near))])
    return max(float(found.max()), steepest_quotient(module, points[int(found.argmax())], points))


def steepest_quotient(module: Perturbed, best: Tensor, points: Tensor) -> float:
    """‖f(a) − f(b)‖/‖a − b‖ along the steepest direction and between the points, rounded down."""
    jacobian = slopes(module, best[None])[0]
    if not bool(torch.isfinite(jacobian).all()):
        return 0.0
    direction = torch.linalg.svd(jacobian, full_matrices=True).Vh[0].reshape(best.shape)
    steps = [direction * float(best.norm()) * length for length in (1e-3, 0.1, 1.0, 10.0)]
    a = torch.stack([*(best - s for s in steps), *points])
    b = torch.stack([*(best + s for s in steps), *points.roll(1, 0)])
    with torch.no_grad():
        high, low = module(a).flatten(1), module(b).flatten(1)
    run, away = (a - b).flatten(1).norm(dim=1), a.flatten(1).norm(dim=1) + b.flatten(1).norm(dim=1)
    rise = (high - low).norm(dim=1) - 1e-12 * (high.norm(dim=1) + low.norm(dim=1) + 1)
    quotients = torch.where((run > 1e-4 * away) & torch.isfinite(rise), rise / run, 0.0)
    return float(quotients.nan_to_num(0.0, 0.0, 0.0).max())
