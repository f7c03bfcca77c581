"""Small random networks of everything the audit understands, from a seed.

`random_network(seed)` returns a module in eval mode and the shape it takes.  Steps are drawn one after the
other; each knows from the shape so far whether it fits.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from sample_kind import Call
from torch import Tensor, nn

__all__ = ["Branch", "MaxMin", "random_network", "steep_points"]

Shape = tuple[int, ...]


class MaxMin(nn.Module):
    """Pairs of the two halves of an axis, sorted."""

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, self.dim)
        return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], self.dim)


def group_sort(x: Tensor) -> Tensor:
    """Neighbouring channels sorted, each slice written twice as people do."""
    top = torch.maximum(x[:, ::2], x[:, 1::2])
    return torch.cat([top, torch.minimum(x[:, ::2], x[:, 1::2])], 1)


class Branch(nn.Module):
    """`join(x, inner(x))`."""

    def __init__(self, inner: nn.Module, join: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.join = inner, join

    def forward(self, x: Tensor) -> Tensor:
        return self.join(x, self.inner(x))


@dataclass(slots=True)
class Draw:
    """A network in the making."""

    rng: random.Random
    shape: Shape
    made: list[nn.Module] = field(default_factory=list)

    def normal(self, *shape: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.rng.randrange(2**31))
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def factor(self) -> float:
        return self.rng.choice([1.0, 0.5, -2.0, 3.7, 1e-3, 250.0, -0.1, 1 / 255])

    def add(self, module: nn.Module) -> None:
        """Append a step if it runs and leaves something."""
        module = module.double().eval()
        with torch.no_grad():
            try:
                out = module(torch.zeros(self.shape, dtype=torch.float64))
            except (RuntimeError, ValueError):
                return
        if out.shape[0] != 1 or not 1 < out.numel() <= 400:
            return
        self.made.append(module)
        self.shape = tuple(out.shape)


def conv(draw: Draw) -> nn.Module:
    rng, channels = draw.rng, draw.shape[1]
    groups = rng.choice([g for g in (1, 2, 3) if channels % g == 0])
    mode = rng.choice(["zeros", "zeros", "circular", "reflect", "replicate"])
    axes = len(draw.shape) - 2
    options = {
        "kernel_size": tuple(rng.randint(1, 3) for _ in range(axes)),
        "stride": rng.choice([1, 1, 2]),
        "padding": rng.randint(0, 2),
        "dilation": rng.choice([1, 1, 2]),
        "groups": groups,
        "bias": rng.random() < 0.7,
    }
    out = groups * rng.randint(1, 3)
    if rng.random() < 0.25:
        kinds = (nn.ConvTranspose1d, nn.ConvTranspose2d)
        extra = rng.randint(0, 1) if options["stride"] == 2 else 0
        return randomised(draw, kinds[axes - 1](channels, out, output_padding=extra, **options))
    kinds = (nn.Conv1d, nn.Conv2d)
    return randomised(draw, kinds[axes - 1](channels, out, padding_mode=mode, **options))


def norm(draw: Draw) -> nn.Module:
    kinds = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}
    return randomised(draw, kinds[len(draw.shape)](draw.shape[1], affine=draw.rng.random() < 0.8))


def affine(draw: Draw) -> nn.Module:
    full = draw.shape
    channel = (1, full[1], *[1] * (len(full) - 2))
    shapes = [(), (1,), channel, channel[1:], full, full[1:], (full[-1],)]
    scale, shift = (draw.normal(*draw.rng.choice(shapes)) for _ in range(2))
    scale = scale * draw.factor()
    forms = [
        lambda x, a, b: x * a + b,
        lambda x, a, b: b - a * x,
        lambda x, a, b: (x - b) / (a.abs() + 0.3),
        lambda x, a, b: torch.add(x * a, b, alpha=-2.5),
    ]
    return Call(draw.rng.choice(forms), a=scale, b=shift)


def activation(draw: Draw) -> nn.Module:
    return draw.rng.choice(
        [
            nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.GELU(), nn.SiLU(), nn.LeakyReLU(-1.3), nn.ELU(2.0),
            nn.Mish(), nn.Hardswish(), nn.Softplus(3.0), nn.PReLU(init=1.4), MaxMin(1), MaxMin(-1), MaxMin(1),
            Call(lambda x: x * torch.sigmoid(1.7 * x)), Call(lambda x: x - torch.tanh(x)), nn.Softsign(),
            Call(lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))), Call(torch.abs), Call(group_sort),
            Call(group_sort), Call(lambda x: x * F.relu6(x + 3) / 6), nn.ReLU6(),
            Call(lambda x: x * F.hardsigmoid(x)),
        ]
    )  # fmt: skip


def move(draw: Draw) -> nn.Module:
    rng, dims = draw.rng, len(draw.shape)
    order = [0, *rng.sample(range(1, dims), dims - 1)]
    widths = [rng.randint(-1, 2) for _ in range(2 * (dims - 2))]
    return Call(
        rng.choice(
            [
                lambda x: x.permute(order),
                lambda x: x.flip(1),
                lambda x: x.roll(1, -1),
                lambda x: x[:, 1:],
                lambda x: x[..., ::2],
                lambda x: F.pad(x, widths),
                lambda x: F.pad(x, widths, value=1.5),
                lambda x: F.pad(x, (1, -1), value=-2.0),
                lambda x: F.pad(x, (1, 1) * (dims - 2), "replicate"),
                lambda x: F.pad(x, (1, 1) * (dims - 2), "circular"),
                lambda x: x.reshape(1, -1, x.shape[1]) if dims == 3 else x.reshape(1, x.shape[1], -1),
            ]
        )
    )


def pool(draw: Draw) -> nn.Module:
    two = len(draw.shape) == 4
    most, mean = (nn.MaxPool2d, nn.AvgPool2d) if two else (nn.MaxPool1d, nn.AvgPool1d)
    small = nn.AdaptiveAvgPool2d if two else nn.AdaptiveAvgPool1d
    return draw.rng.choice([most(2), most(3, 2, 1), most(3, 1), mean(2, 1), mean(3, 2, 1), small(2)])


def branch(draw: Draw) -> nn.Module:
    """A residual, a concatenation or a lattice of a path that keeps the shape."""
    size = draw.shape[-1]
    linear = randomised(draw, nn.Linear(size, size))
    inner = nn.Sequential(linear, activation(draw))
    weight = draw.factor()
    joins = [
        lambda x, y: x + y,
        lambda x, y: x - weight * y,
        lambda x, y: torch.cat([x, y], 1),
        torch.maximum,
        lambda x, y: torch.stack([x, y], 1).sum(1),
    ]
    return Branch(inner, draw.rng.choice(joins))


def dense(draw: Draw) -> nn.Module:
    return randomised(draw, nn.Linear(draw.shape[-1], draw.rng.randint(2, 6), bias=draw.rng.random() < 0.7))


def randomised(draw: Draw, module: nn.Module) -> nn.Module:
    scale = draw.rng.choice([0.3, 1.0, 1.0, 3.0])
    module = module.double().eval()
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            drawn = draw.normal(*value.shape) * scale
            value.copy_(drawn.abs() + 0.05 if "var" in name else drawn)
    return module


IMAGE = [conv, conv, conv, norm, affine, affine, activation, activation, move, pool, branch]
FLAT = [dense, dense, affine, norm, activation, activation, branch]


def random_network(seed: int) -> tuple[nn.Module, Shape]:
    """A network of 3 to 9 steps that ends with a dense layer, and its input shape (leading 1)."""
    rng = random.Random(seed)
    start = rng.choice([(1, 2, 5, 4), (1, 3, 4, 4), (1, 4, 6), (1, 1, 6, 6), (1, 6)])
    draw = Draw(rng, start)
    for _ in range(rng.randint(2, 5)):
        draw.add(rng.choice(IMAGE if len(draw.shape) > 2 else FLAT)(draw))
    if len(draw.shape) > 2:
        draw.add(nn.Flatten())
    for _ in range(rng.randint(0, 2)):
        draw.add(rng.choice(FLAT)(draw))
    draw.add(nn.Flatten())
    draw.add(dense(draw))
    if rng.random() < 0.3:
        draw.add(rng.choice([norm, affine])(draw))
    return nn.Sequential(*draw.made).double().eval(), start


def steep_points(module: nn.Module, points: Tensor, steps: int = 4) -> Tensor:
    """The points, moved uphill on a random difference quotient: where slopes are large."""
    generator = torch.Generator().manual_seed(0)

    def slopes(at: Tensor) -> Tensor:
        ends = [
            (module(p[None] + 1e-4 * v) - module(p[None])).norm() for p, v in zip(at, directions, strict=True)
        ]
        return torch.stack(ends)

    for _ in range(steps):
        directions = torch.randn(points.shape, generator=generator, dtype=torch.float64)
        x = points.clone().requires_grad_()
        (up,) = torch.autograd.grad(slopes(x).sum(), x)
        norms = up.flatten(1).norm(dim=1).reshape(-1, *[1] * (up.dim() - 1))
        points = points + 0.5 * torch.nan_to_num(up / norms.clamp(min=1e-30))
    return points
