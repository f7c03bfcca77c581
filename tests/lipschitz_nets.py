"""1-Lipschitz layers as their authors build them, in eval mode with float32 weights.

A family has raw parameters (drawn, or after a few steps of gradient descent on random data), from which the
stored weights are derived in float64 and then rounded.  What is exported holds the derived ones only.

    CPL        x − (2/‖W‖²) Wᵀφ(Wx + b)                        Meunier et al. 2022, arXiv 2110.12690
    SLL        x − 2WᵀT⁻¹φ(Wx + b), T_i = Σ_j |WWᵀ|_ij q_j/q_i  Araujo et al. 2023, arXiv 2303.03169
    SOC        Σ_{j ≤ m} Aʲx/j!, A skew                         Singla, Feizi 2021, arXiv 2105.11417
    Sandwich   √2AᵀΨφ(√2Ψ⁻¹Bx + b), AAᵀ + BBᵀ = I               Wang, Manchester 2023, arXiv 2301.11526
    residual   x + f(x), (x + f(x))/2, concat(x, f(x))/√2

Each builder takes a seed, and `steps` of training.  Norms are those of dense matrices: no code of lipaudit's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

__all__ = [
    "CPL_CONV_SPELLINGS",
    "CPL_DENSE_SPELLINGS",
    "SOC_SPELLINGS",
    "Layer",
    "conv_norm",
    "cpl_conv",
    "cpl_dense",
    "dense_block",
    "map_norm",
    "residual",
    "sandwich",
    "sll_conv",
    "sll_dense",
    "soc_conv",
    "soc_dense",
    "stored",
]

Weights = dict[str, Tensor]
Function = Callable[..., Tensor]


class Layer(nn.Module):
    """`function(x, **weights)`; the weights are parameters that need no gradient."""

    def __init__(self, function: Function, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.function = function
        for name, value in weights.items():
            copied = value.detach().to(torch.float32).clone(memory_format=torch.contiguous_format)
            self.register_parameter(name, nn.Parameter(copied, requires_grad=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, **dict(self.named_parameters()))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(g: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=g, dtype=torch.float64)


def stored(
    raw: Weights,
    derive: Callable[[Weights], Weights],
    function: Function,
    shape: tuple[int, ...],
    *,
    steps: int = 0,
) -> Layer:
    """The layer in eval mode, after `steps` of gradient descent on the raw parameters.

    Args:
        raw: float64.
        derive: what the layer stores, from the raw parameters.
        function: of x and the stored weights.
        shape: of the training samples, leading 1 included.
        steps: of gradient descent.
    """
    g = generator(0)
    for _ in range(steps):
        raw = {name: value.detach().requires_grad_() for name, value in raw.items()}
        out = function(normal(g, 8, *shape[1:]), **derive(raw)).flatten(1)
        scores = out @ normal(g, out.shape[1], 3)
        loss = F.cross_entropy(scores, torch.randint(3, (8,), generator=g))
        slopes = torch.autograd.grad(loss, list(raw.values()), allow_unused=True)
        raw = {
            name: value if slope is None else value - 0.2 * slope / (1e-9 + slope.norm()) * value.norm()
            for (name, value), slope in zip(raw.items(), slopes, strict=True)
        }
    with torch.no_grad():
        return Layer(function, derive(raw)).eval()


def map_norm(linear: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Tensor:
    """Spectral norm of a linear map on tensors of `shape` (without batch), from its dense matrix."""
    cells = math.prod(shape)
    basis = torch.eye(cells, dtype=torch.float64).reshape(cells, *shape)
    return torch.linalg.matrix_norm(linear(basis).reshape(cells, -1), ord=2)


def conv_norm(weight: Tensor, image: int, **options: int) -> Tensor:
    """Spectral norm of a zero-padded convolution on images of that size."""
    return map_norm(lambda x: F.conv2d(x, weight, **options), (weight.shape[1], image, image))


def power_norm(weight: Tensor, image: int, steps: int, **options: int) -> Tensor:
    """What a few steps of power iteration say: at most the norm."""
    v = normal(generator(7), 1, weight.shape[1], image, image)
    for _ in range(steps):
        u = F.conv2d(v / v.norm(), weight, **options)
        v = F.conv_transpose2d(u / u.norm(), weight, **options)
    return F.conv2d(v / v.norm(), weight, **options).norm()


# CPL: one function per spelling, of x and the stored weights; φ is closed over.


def _reversed(w: Tensor) -> Tensor:
    """The kernel with which a convolution of stride 1 is the adjoint."""
    return w.flip(2, 3).transpose(0, 1)


def _cpl_conv_spelling(spelling: str, phi: Function, k: int) -> tuple[Callable[..., Weights], Function]:
    """How the weights w, b and the factor s = 2/‖w‖² are stored, and the function of them."""
    p = k // 2

    def up(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return phi(F.conv2d(x, w, b, padding=p))

    def down(h: Tensor, w: Tensor) -> Tensor:
        return F.conv_transpose2d(h, w, padding=p)

    def plain(w: Tensor, b: Tensor, s: Tensor) -> Weights:
        return {"w": w, "b": b, "s": s}

    def two(second: Function) -> Callable[..., Weights]:
        return lambda w, b, s: {"w": w, "b": b, "v": second(w, s)}

    table: dict[str, tuple[Callable[..., Weights], Function]] = {
        "sub": (plain, lambda x, w, b, s: x - s * down(up(x, w, b), w)),
        "neg and add": (plain, lambda x, w, b, s: x + (-(s * down(up(x, w, b), w)))),
        "negative factor": (
            lambda w, b, s: plain(w, b, -s),
            lambda x, w, b, s: x + s * down(up(x, w, b), w),
        ),
        "branch first": (plain, lambda x, w, b, s: -(s * down(up(x, w, b), w)) + x),
        "scale before": (plain, lambda x, w, b, s: x - down(s * up(x, w, b), w)),
        "scale in the kernel": (two(lambda w, s: s * w), lambda x, w, b, v: x - down(up(x, w, b), v)),
        "negative kernel": (two(lambda w, s: -s * w), lambda x, w, b, v: x + down(up(x, w, b), v)),
        "scale absorbed": (
            lambda w, b, s: {"w": s.sqrt() * w, "b": s.sqrt() * b},
            lambda x, w, b: x - down(up(x, w, b), w),
        ),
        "duplicate weight": (
            lambda w, b, s: {"w": w, "b": b, "v": w, "s": s},
            lambda x, w, b, v, s: x - s * down(up(x, w, b), v),
        ),
        "flipped kernel": (
            lambda w, b, s: {"w": w, "b": b, "v": _reversed(w), "s": s},
            lambda x, w, b, v, s: x - s * F.conv2d(up(x, w, b), v, padding=k - 1 - p),
        ),
        "bias apart": (
            lambda w, b, s: plain(w, b[:, None, None], s),
            lambda x, w, b, s: x - s * down(phi(F.conv2d(x, w, padding=p) + b), w),
        ),
        "two factors": (
            lambda w, b, s: plain(w, b, s / 2),
            lambda x, w, b, s: x - 2 * (s * down(up(x, w, b), w)),
        ),
        "division": (
            lambda w, b, s: plain(w, b, 2 / s),
            lambda x, w, b, s: x - 2 * down(up(x, w, b), w) / s,
        ),
    }
    return table[spelling]


CPL_CONV_SPELLINGS = (
    "sub", "neg and add", "negative factor", "branch first", "scale before", "scale in the kernel",
    "negative kernel", "scale absorbed", "duplicate weight", "flipped kernel", "bias apart", "two factors",
    "division",
)  # fmt: skip


def cpl_conv(
    seed: int,
    *,
    spelling: str = "sub",
    norm: str | int = "exact",
    channels: int = 3,
    hidden: int = 4,
    image: int = 6,
    kernel: int = 3,
    phi: Function = torch.relu,
    steps: int = 0,
) -> Layer:
    """A convolutional CPL block on (1, channels, image, image).

    Args:
        seed: of the weights.
        spelling: one of `CPL_CONV_SPELLINGS`.
        norm: "exact", "power" (one step of power iteration), or the image size that it was computed for.
        channels: of x.
        hidden: of Wx.
        image: its extent.
        kernel: odd.
        phi: the activation.
        steps: of training.
    """
    g = generator(seed)
    store, function = _cpl_conv_spelling(spelling, phi, kernel)
    raw = {"w": normal(g, hidden, channels, kernel, kernel), "b": 0.3 * normal(g, hidden)}

    def derive(raw: Weights) -> Weights:
        w = raw["w"]
        w = w + (w.to(torch.float32) - w).detach()  # the norm is that of the stored weight
        if norm == "power":
            size = power_norm(w, image, 1, padding=kernel // 2)
        else:
            size = conv_norm(w, image if norm == "exact" else int(norm), padding=kernel // 2)
        return store(w, raw["b"], 2 / size**2)

    return stored(raw, derive, function, (1, channels, image, image), steps=steps)


def _cpl_dense_spelling(spelling: str, phi: Function) -> tuple[Callable[..., Weights], Function]:
    def plain(w: Tensor, b: Tensor, s: Tensor) -> Weights:
        return {"w": w, "b": b, "s": s}

    table: dict[str, tuple[Callable[..., Weights], Function]] = {
        "linear": (plain, lambda x, w, b, s: x - s * F.linear(phi(F.linear(x, w, b)), w.t())),
        "matmul": (
            lambda w, b, s: plain(w.T, b, s),
            lambda x, w, b, s: x - s * (phi(x @ w + b) @ w.t()),
        ),
        "transpose apart": (
            lambda w, b, s: {"w": w, "b": b, "v": w.T, "s": s},
            lambda x, w, b, v, s: x - s * F.linear(phi(F.linear(x, w, b)), v),
        ),
        "scale in the weight": (
            lambda w, b, s: {"w": w, "b": b, "v": -s * w.T},
            lambda x, w, b, v: F.linear(phi(F.linear(x, w, b)), v) + x,
        ),
        "einsum": (
            plain,
            lambda x, w, b, s: x - s * torch.einsum("bh,hi->bi", phi(torch.einsum("bi,hi->bh", x, w) + b), w),
        ),
    }
    return table[spelling]


CPL_DENSE_SPELLINGS = ("linear", "matmul", "transpose apart", "scale in the weight", "einsum")


def cpl_dense(
    seed: int,
    *,
    spelling: str = "linear",
    size: int = 6,
    hidden: int = 8,
    phi: Function = torch.relu,
    steps: int = 0,
) -> Layer:
    """A dense CPL block on (1, size), normalised by its exact norm."""
    g = generator(seed)
    store, function = _cpl_dense_spelling(spelling, phi)
    raw = {"w": normal(g, hidden, size), "b": 0.3 * normal(g, hidden)}

    def derive(raw: Weights) -> Weights:
        return store(raw["w"], raw["b"], 2 / torch.linalg.matrix_norm(raw["w"], ord=2) ** 2)

    return stored(raw, derive, function, (1, size), steps=steps)


# SLL


def sll_dense(
    seed: int, *, size: int = 6, hidden: int = 8, phi: Function = torch.relu, steps: int = 0
) -> Layer:
    """A dense SLL block on (1, size)."""
    g = generator(seed)
    raw = {"w": normal(g, hidden, size), "b": 0.3 * normal(g, hidden), "logq": 0.5 * normal(g, hidden)}

    def derive(raw: Weights) -> Weights:
        q = raw["logq"].exp()
        t = 2 / ((raw["w"] @ raw["w"].T).abs() * q[None] / q[:, None]).sum(1)
        return {"w": raw["w"], "b": raw["b"], "t": t}

    def function(x: Tensor, w: Tensor, b: Tensor, t: Tensor) -> Tensor:
        return x - F.linear(t * phi(F.linear(x, w, b)), w.t())

    return stored(raw, derive, function, (1, size), steps=steps)


def sll_conv(
    seed: int,
    *,
    channels: int = 3,
    hidden: int = 4,
    image: int = 6,
    kernel: int = 3,
    phi: Function = torch.relu,
    scale: str = "apart",
    steps: int = 0,
) -> Layer:
    """A convolutional SLL block on (1, channels, image, image); `scale` "apart" or "in the kernel"."""
    g, p = generator(seed), kernel // 2
    raw = {
        "w": normal(g, hidden, channels, kernel, kernel),
        "b": 0.3 * normal(g, hidden),
        "logq": 0.5 * normal(g, hidden),
    }

    def derive(raw: Weights) -> Weights:
        w, q = raw["w"], raw["logq"].exp()
        products = F.conv2d(w, w, padding=kernel - 1).abs().sum((2, 3))
        t = (2 / (products * q[None] / q[:, None]).sum(1))[:, None, None]
        if scale == "apart":
            return {"w": w, "b": raw["b"], "t": t}
        return {"w": w, "b": raw["b"], "v": w * t[:, None]}

    def apart(x: Tensor, w: Tensor, b: Tensor, t: Tensor) -> Tensor:
        return x - F.conv_transpose2d(phi(F.conv2d(x, w, b, padding=p)) * t, w, padding=p)

    def inside(x: Tensor, w: Tensor, b: Tensor, v: Tensor) -> Tensor:
        return x - F.conv_transpose2d(phi(F.conv2d(x, w, b, padding=p)), v, padding=p)

    function = apart if scale == "apart" else inside
    return stored(raw, derive, function, (1, channels, image, image), steps=steps)


# SOC


def _series(spelling: str, terms: int) -> Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]:
    """Σ Aʲx/j! in the ways people write it."""

    def divide(a: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        z = y = x
        for j in range(1, terms + 1):
            z = a(z) / j
            y = y + z
        return y

    def factorials(a: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        z = y = x
        for j in range(1, terms + 1):
            z = a(z)
            y = y + z * (1 / math.factorial(j))
        return y

    def horner(a: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        y = x
        for j in range(terms, 0, -1):
            y = x + a(y) / j
        return y

    return {"divide": divide, "factorials": factorials, "horner": horner}[spelling]


SOC_SPELLINGS = ("divide", "factorials", "horner")


def soc_conv(
    seed: int,
    *,
    terms: int = 12,
    norm: float = 1.0,
    channels: int = 4,
    out: int | None = None,
    image: int = 6,
    kernel: int = 3,
    spelling: str = "divide",
    steps: int = 0,
) -> Layer:
    """A skew orthogonal convolution on (1, channels, image, image).

    Args:
        seed: of the weights.
        terms: m of the series.
        norm: of A on this image, its kernel scaled to it.
        channels: of x.
        out: channels that come out; zeros are appended before, or channels dropped behind.
        image: its extent.
        kernel: odd.
        spelling: one of `SOC_SPELLINGS`.
        steps: of training.
    """
    g, p = generator(seed), kernel // 2
    wide = max(channels, out or channels)
    raw = {"k": normal(g, wide, wide, kernel, kernel), "b": 0.3 * normal(g, out or channels)}
    series = _series(spelling, terms)

    def derive(raw: Weights) -> Weights:
        a = raw["k"] - _reversed(raw["k"])
        a = norm / conv_norm(a, image, padding=p) * a
        return {"a": a, "b": raw["b"][:, None, None]}

    def function(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, 0, 0, wide - channels)) if wide > channels else x
        y = series(lambda z: F.conv2d(z, a, padding=p), x)
        return y[:, : len(b)] + b

    return stored(raw, derive, function, (1, channels, image, image), steps=steps)


def soc_dense(
    seed: int,
    *,
    terms: int = 12,
    norm: float = 1.0,
    size: int = 6,
    spelling: str = "divide",
    steps: int = 0,
) -> Layer:
    """The same with a skew-symmetric matrix, on (1, size)."""
    g = generator(seed)
    raw = {"k": normal(g, size, size), "b": 0.3 * normal(g, size)}
    series = _series(spelling, terms)

    def derive(raw: Weights) -> Weights:
        a = raw["k"] - raw["k"].T
        return {"a": norm / torch.linalg.matrix_norm(a, ord=2) * a, "b": raw["b"]}

    def function(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return series(lambda z: F.linear(z, a), x) + b

    return stored(raw, derive, function, (1, size), steps=steps)


# Sandwich


def sandwich(
    seed: int,
    *,
    size: int = 6,
    out: int = 5,
    psi: float = 1.0,
    phi: Function = torch.relu,
    folded: bool = False,
    steps: int = 0,
) -> Layer:
    """A dense sandwich layer (1, size) → (1, out); ln Ψ has spread `psi`.  Folded: two plain linear maps."""
    g = generator(seed)
    raw = {
        "x": normal(g, out, out),
        "y": normal(g, size, out),
        "d": psi * normal(g, out),
        "b": 0.3 * normal(g, out),
    }

    def derive(raw: Weights) -> Weights:
        # The Cayley transform of a skew matrix beside a free one has orthonormal columns.
        z = raw["x"] - raw["x"].T + raw["y"].T @ raw["y"]
        one = torch.eye(out, dtype=torch.float64)
        inverse = torch.linalg.inv(one + z)
        at, b = inverse @ (one - z), (-2 * raw["y"] @ inverse).T
        d = raw["d"].exp()
        if folded:
            return {
                "v": math.sqrt(2) * at * d[None],
                "w": math.sqrt(2) * b / d[:, None],
                "b": raw["b"],
            }
        return {"at": at, "m": b, "d": d, "b": raw["b"]}

    def inside(x: Tensor, v: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return F.linear(phi(F.linear(x, w, b)), v)

    def apart(x: Tensor, at: Tensor, m: Tensor, d: Tensor, b: Tensor) -> Tensor:
        h = phi(math.sqrt(2) * (1 / d) * F.linear(x, m) + b)
        return math.sqrt(2) * F.linear(h * d, at)

    return stored(raw, derive, inside if folded else apart, (1, size), steps=steps)


# Residual blocks and dense concatenations of a 1-Lipschitz path


def residual(seed: int, *, size: int = 6, hidden: int = 8, averaged: bool = False, steps: int = 0) -> Layer:
    """x + f(x), or its half, with f = W₂relu(W₁x + b₁) + b₂ of norms 1 each: constants up to 2, and 1."""
    g = generator(seed)
    raw = {
        "w": normal(g, hidden, size),
        "v": normal(g, size, hidden),
        "b": 0.3 * normal(g, hidden),
        "c": normal(g, size),
    }

    def derive(raw: Weights) -> Weights:
        unit = {name: raw[name] / torch.linalg.matrix_norm(raw[name], ord=2) for name in ("w", "v")}
        return {**raw, **unit}

    def function(x: Tensor, w: Tensor, v: Tensor, b: Tensor, c: Tensor) -> Tensor:
        y = x + F.linear(torch.relu(F.linear(x, w, b)), v, c)
        return 0.5 * y if averaged else y

    return stored(raw, derive, function, (1, size), steps=steps)


def dense_block(seed: int, *, channels: int = 3, grow: int = 2, image: int = 5, steps: int = 0) -> Layer:
    """concat(x, f(x))/√2 of a convolution f of norm 1, as DenseNets join."""
    g = generator(seed)
    raw = {"w": normal(g, grow, channels, 3, 3), "b": 0.3 * normal(g, grow)}

    def derive(raw: Weights) -> Weights:
        return {"w": raw["w"] / conv_norm(raw["w"], image, padding=1), "b": raw["b"]}

    def function(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return torch.cat([x, torch.relu(F.conv2d(x, w, b, padding=1))], 1) * math.sqrt(0.5)

    return stored(raw, derive, function, (1, channels, image, image), steps=steps)
