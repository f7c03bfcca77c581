"""Linear maps that bring out what is special: one row per map, with the dense matrix as its truth.

`Specimen.matrix` comes from the oracles (torch's own convolution of the identity), never from lipaudit.
`slack` is what `auto` may lose on it (an assertion about tightness, not about soundness).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from oracles import spectral_norm
from strategies import Recipe
from torch import Tensor

from lipaudit.spectral import Conv, Dense

TIGHT = 1 + 1e-6
EXTREMES = (2.0**-1000, 1e-150, 1e-30, 1e30, 1e150, 2.0**1000)


@dataclass(frozen=True, eq=False)
class Specimen:
    """A map under test and the matrix it must have."""

    name: str
    make: Callable[[], Conv | Dense]
    matrix: Callable[[], Tensor]
    slack: float = TIGHT

    @cached_property
    def truth(self) -> float:
        """The largest singular value of the oracle's matrix."""
        return spectral_norm(self.matrix())


def dense(name, weight):
    """A dense specimen."""
    return Specimen(f"dense {name}", lambda: Dense(weight), weight.double)


def conv(name, weight, image, **options):
    """A convolution specimen; options as in `Conv`, numbers standing for every axis."""
    axes = weight.dim() - 2
    slack = options.pop("slack", TIGHT)
    padding = options.get("padding", 0)
    padding = [padding] * axes if isinstance(padding, int) else padding
    recipe = Recipe(
        weight=weight,
        image=per_axis(image, axes),
        stride=per_axis(options.get("stride", 1), axes),
        padding=tuple((p, p) if isinstance(p, int) else p for p in padding),
        dilation=per_axis(options.get("dilation", 1), axes),
        groups=options.get("groups", 1),
        padding_mode=options.get("mode", "zeros"),
        transposed=options.get("transposed", False),
    )
    return Specimen(f"conv {name}", lambda: recipe.conv, lambda: recipe.matrix, slack)


def per_axis(value, axes):
    """One number for every axis, or the axes' own."""
    return (value,) * axes if isinstance(value, int) else tuple(value)


def normal(*shape, seed=0):
    """Gaussian weights."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ones(*shape):
    """All ones."""
    return torch.ones(*shape, dtype=torch.float64)


def hadamard(order):
    """Sylvester's ±1 matrix of norm √order, exactly."""
    matrix = ones(1, 1)
    while len(matrix) < order:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix


def with_spectrum(values):
    """A square matrix with about these singular values."""
    n = len(values)
    left, right = (torch.linalg.qr(normal(n, n, seed=s))[0] for s in (1, 2))
    return left @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ right


def wide_range(*shape, decades=140):
    """Entries from 10^−decades to 10^decades."""
    exponents = torch.linspace(-decades, decades, math.prod(shape), dtype=torch.float64)
    order = torch.randperm(math.prod(shape), generator=torch.Generator().manual_seed(3))
    return normal(*shape, seed=4).sign() * 10.0 ** exponents[order].reshape(shape)


def delta(channels, *kernel):
    """A Hadamard matrix at the kernel's centre, zeros elsewhere: an orthogonal convolution × √channels."""
    weight = torch.zeros(channels, channels, *kernel, dtype=torch.float64)
    weight[(slice(None), slice(None), *(k // 2 for k in kernel))] = hadamard(channels)
    return weight


def reflector_bank():
    """The 2×2 block transform: orthogonal at stride 2."""
    return hadamard(4).reshape(4, 1, 2, 2) / 2


LAPLACIAN = torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]], dtype=torch.float64)[None, None]
HIGH_PASS = torch.tensor([[-1.0, -1, -1], [-1, 8, -1], [-1, -1, -1]], dtype=torch.float64)[None, None]
RANK_ONE = torch.einsum(
    "o,i,h,w->oihw", *(torch.tensor(v).double() for v in ([1, -2], [3, 1], [1, 2, 1], [1, 0, -1]))
)

DENSE = (
    dense("zero", torch.zeros(3, 4, dtype=torch.float64)),
    dense("1×1", torch.tensor([[-3.0]])),
    dense("row", normal(1, 200)),
    dense("column", normal(200, 1)),
    dense("rank one", torch.outer(torch.arange(1.0, 8.0).double(), torch.arange(-4.0, 5.0).double())),
    dense("orthogonal", hadamard(16) / 4),
    dense("rotation", with_spectrum([1.0] * 20)),
    dense("near ties", with_spectrum([1.0, 1 - 1e-13, 1 - 1e-10, 1 - 1e-7] + [0.5] * 12)),
    dense("steep spectrum", with_spectrum([10.0**-k for k in range(16)])),
    dense("all negative", -normal(9, 6).abs()),
    dense("nilpotent", torch.diag(ones(7), 1)),
    dense("wide", normal(3, 100)),
    dense("beyond exact eigenvalues", normal(400, 410)),
    dense("huge dynamic range", wide_range(6, 9)),
    dense("one giant", torch.diag(torch.tensor([2.0**1000, 1.0, 2.0**-1000], dtype=torch.float64))),
    dense("subnormal", normal(5, 4) * 2.0**-530 * 2.0**-530),
    dense("tiniest", ones(3, 3) * 5e-324),
    dense("largest", torch.diag(ones(3)) * 1.7e308),
    dense("float32", normal(12, 10).float()),
    dense("bfloat16", normal(12, 10).bfloat16()),
    dense("float16 subnormal", (normal(6, 6) * 1e-7).half()),
    *(dense(f"× {scale:.0e}", normal(7, 5) * scale) for scale in EXTREMES),
)

CONVOLUTIONS = (
    conv("zero", torch.zeros(2, 2, 3, 3), 5, padding=1),
    conv("rank one", RANK_ONE, 6, padding=1),
    conv("orthogonal", delta(4, 3, 3), 6, padding=1),
    conv("orthogonal circular", delta(4, 3, 3), 6, padding=1, mode="circular"),
    conv("orthogonal at stride 2", reflector_bank(), 8, stride=2),
    conv("Laplacian", LAPLACIAN, 7, padding=1),
    conv("Laplacian circular", LAPLACIAN, 7, padding=1, mode="circular"),
    conv("high pass", HIGH_PASS, 8, padding=1),
    conv("high pass reflect", HIGH_PASS, 8, padding=1, mode="reflect"),
    conv("averaging reflect", ones(1, 1, 3, 3) / 9, 3, padding=1, mode="reflect"),
    conv("averaging replicate", ones(1, 1, 3, 3) / 9, 3, padding=2, mode="replicate"),
    conv("all negative", -normal(2, 3, 3, 3).abs(), 6, padding=1),
    conv("1×1 kernel", normal(4, 3, 1, 1), 5),
    conv("1×1 kernel, stride 3", normal(4, 3, 1, 1), 8, stride=3),
    conv("one cell", normal(3, 2, 3, 3), 1, padding=1),
    conv("one cell circular", normal(3, 2, 3, 3), 1, padding=1, mode="circular"),
    conv("one cell replicate", normal(3, 2, 3, 3), 1, padding=1, mode="replicate"),
    conv("thin image", normal(2, 2, 3, 3), (1, 9), padding=1),
    conv("n < k", normal(2, 2, 7), 3, padding=3),
    conv("n < k circular wraps", normal(2, 2, 7), 3, padding=3, mode="circular"),
    conv("n < k circular 2-D", normal(2, 2, 5, 5), 2, padding=2, mode="circular"),
    conv("even kernel", normal(2, 3, 4, 2), 6, padding=[(1, 2), (0, 1)]),
    conv("even kernel circular", normal(2, 3, 4, 2), 6, padding=[(1, 2), (0, 1)], mode="circular"),
    conv("valid", normal(2, 3, 3, 3), 6),
    conv("uneven pads", normal(2, 3, 3, 3), 6, padding=[(0, 2), (5, 1)]),
    conv("pads far larger than the image", normal(2, 2, 3), 2, padding=[(40, 17)], stride=3),
    conv("circular pads far larger than the image", normal(2, 2, 3), 2, padding=[(11, 8)], mode="circular"),
    conv("replicate pads far larger than the image", normal(2, 2, 3), 2, padding=[(9, 30)], mode="replicate"),
    conv("reflect as far as it goes", normal(2, 2, 3), 4, padding=3, mode="reflect"),
    conv("reflect two cells", normal(2, 2, 2), 2, padding=1, mode="reflect", stride=2),
    conv("stride > kernel", normal(2, 2, 2, 2), 9, stride=(4, 3)),
    conv("stride > image", normal(2, 2, 3, 3), 3, stride=7, padding=1),
    conv("stride does not divide the circle", ones(1, 1, 3), 3, stride=2, padding=1, mode="circular"),
    conv("stride divides the circle", normal(2, 2, 3, 3), 8, stride=2, padding=1, mode="circular"),
    conv("fewer circular pads", normal(2, 2, 5), 7, stride=2, padding=[(1, 0)], mode="circular"),
    conv("dilation and stride share a factor", normal(2, 2, 3, 3), 9, stride=4, dilation=2, padding=2),
    conv("dilation a multiple of stride", normal(2, 2, 3, 3), 9, stride=2, dilation=4, padding=4),
    conv("dilation and stride coprime", normal(2, 2, 3, 3), 9, stride=2, dilation=3, padding=3),
    conv("dilated circular wraps", normal(2, 2, 3), 5, dilation=4, padding=4, mode="circular"),
    conv("depthwise", normal(6, 1, 3, 3), 6, groups=6, padding=1),
    conv("depthwise multiplier", normal(6, 1, 3, 3), 6, groups=3, padding=1, mode="circular"),
    conv("one loud group", torch.cat([normal(2, 2, 3, 3), 1e9 * normal(2, 2, 3, 3)]), 5, groups=2, padding=1),
    conv("crop", normal(2, 2, 3, 3), 8, padding=[(-2, 1), (1, -3)]),
    conv("crop to one cell", normal(2, 2, 1, 1), 5, padding=[(-2, -2), (-4, 0)]),
    conv("crop with stride", normal(2, 2, 3), 11, padding=[(-3, 2)], stride=2),
    conv("transposed", normal(3, 2, 3, 3), 5, stride=2, padding=1, transposed=True),
    conv(
        "transposed, output padding", normal(3, 2, 3, 3), 5, stride=2, padding=[(1, 0)] * 2, transposed=True
    ),
    conv("transposed, cropped output", normal(3, 2, 5), 4, stride=2, padding=[(4, 3)], transposed=True),
    conv(
        "transposed, output padding ≥ stride",
        normal(2, 2, 2),
        4,
        dilation=3,
        padding=[(1, -2)],
        transposed=True,
    ),
    conv("transposed groups", normal(4, 2, 3), 5, groups=2, stride=3, dilation=2, transposed=True),
    conv("1-D", normal(3, 3, 5), 12, padding=2),
    conv("3-D", normal(2, 2, 3, 3, 3), (3, 4, 2), padding=1),
    conv("3-D circular", normal(2, 2, 3, 2, 3), (2, 4, 3), padding=[1, (1, 0), 1], mode="circular"),
    conv("huge dynamic range", wide_range(2, 2, 3, 3), 5, padding=1),
    conv("huge dynamic range circular", wide_range(2, 2, 3, 3), 3, padding=1, mode="circular"),
    conv("subnormal", normal(2, 2, 3) * 2.0**-530 * 2.0**-535, 6, padding=1),
    conv("float32", normal(2, 2, 3, 3).float(), 6, padding=1),
    *(conv(f"× {s:.0e}", normal(2, 2, 3, 3) * s, 5, padding=1) for s in EXTREMES),
    *(conv(f"circular × {s:.0e}", normal(2, 2, 3, 3) * s, 5, padding=1, mode="circular") for s in EXTREMES),
)

ZOO = DENSE + CONVOLUTIONS
