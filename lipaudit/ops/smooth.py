"""Activations with a second derivative: φ′ as a function, and the range of φ″ over ℝ.

    softplus    φ′ = σ(βx)                   φ″ = βσ(1 − σ) in [0, β/4], since p(1 − p) ≤ 1/4
    logsigmoid  φ′ = σ(−x)                   φ″ = −σ(1 − σ) in [−1/4, 0]
    sigmoid     φ′ = σ(1 − σ)                |φ″| ≤ 1/(6√3)
    tanh        φ′ = 1 − t²                  |φ″| ≤ 4/(3√3)
    sin, cos                                 |φ″| ≤ 1
    atan        φ′ = 1/(1 + x²)              |φ″| ≤ 3√3/8
    asinh       φ′ = 1/√(1 + x²)             |φ″| ≤ 2/(3√3)
    erf         φ′ = (2/√π)e^(−x²)           |φ″| ≤ 2√(2/(πe))
    gelu        φ′ = Φ + xϕ                  φ″ = (2 − x²)ϕ in [−2ϕ(2), 2ϕ(0)]
    silu        φ′ = σ(1 + x(1 − σ))         φ″ = σ(1 − σ)(2 + x(1 − 2σ)) in [−0.0370, 1/2]
    mish                                     φ″ in [−0.0591, 0.6443]
    gelu (tanh)                              φ″ in [−0.1080, 0.7980]

Proofs.  Sigmoid: φ″ = p(1 − p)(1 − 2p) with p = σ; its derivative in p, 1 − 6p + 6p², is 0 at p = (1 ±
1/√3)/2, where the value is ±(1/6)(1/√3).  Tanh: φ″ = −2t(1 − t²), extreme at t = ±1/√3.  Atan: φ″ = −2x/(1 +
x²)², extreme at x² = 1/3.  Asinh: −x/(1 + x²)^(3/2), extreme at x² = 1/2.  Erf: −(4/√π)xe^(−x²), extreme at
x² = 1/2.  Gelu: the derivative of (2 − x²)ϕ is x(x² − 4)ϕ, so the extremes are at 0 and ±2.  ∎  All tend to
0 (or are periodic) at infinity.  The brackets of silu, mish and gelu (tanh) are proved by interval
arithmetic, in the tests.

Every φ′ here is evaluated with an absolute error of at most `EVALUATED`·u: each is a few operations of a few
ulp on numbers of size about 1, and none subtracts large numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from lipaudit.ops.activation import Elementwise
from lipaudit.rounding import div_up

__all__ = ["EVALUATED", "SMOOTH", "Smooth", "smooth"]

EVALUATED = 64.0
"""Units of roundoff that evaluating a φ′ below may be off by."""


@dataclass(frozen=True, slots=True, eq=False)
class Smooth:
    """φ′, and lowest ≤ φ″ ≤ highest with lowest ≤ 0 ≤ highest."""

    derivative: Callable[[Tensor], Tensor]
    lowest: float
    highest: float


_SIGMOID = 0.09622504486493763
_TANH = 0.769800358919501
_ATAN = 0.649519052838329
_ASINH = 0.3849001794597505
_ERF = 0.9678828980765735
_GELU = (-0.10798193302637611, 0.7978845608028654)
_GELU_TANH = (-0.1080, 0.7980)
_SILU = (-0.0370, 0.5)
_MISH = (-0.0591, 0.6443)
_ROOT_PI = math.sqrt(math.pi)
_ROOT_2 = math.sqrt(2.0)
_ROOT_2_PI = math.sqrt(2 * math.pi)


def _sigmoid(x: Tensor) -> Tensor:
    return torch.sigmoid(x) * torch.sigmoid(-x)


def _gelu(x: Tensor) -> Tensor:
    density = torch.exp(-x * x / 2) / _ROOT_2_PI
    return torch.erfc(-x / _ROOT_2) / 2 + _times(x, density)


def _gelu_tanh(x: Tensor) -> Tensor:
    # The slope is 0 or 1 to the last bit long before x = 20, and x³ does not overflow.
    x = x.clamp(-20.0, 20.0)
    k, a = math.sqrt(2 / math.pi), 0.044715
    inner = k * (x + a * x**3)
    # (1 + tanh w)/2 = σ(2w), and 1 − tanh² w = 4σ(2w)σ(−2w).
    return torch.sigmoid(2 * inner) + 2 * x * _sigmoid(2 * inner) * k * (1 + 3 * a * x * x)


def _silu(x: Tensor) -> Tensor:
    return torch.sigmoid(x) + _times(x, _sigmoid(x))


def _mish(x: Tensor) -> Tensor:
    inner = F.softplus(x, threshold=40.0)
    return torch.tanh(inner) + _times(x, torch.cosh(inner).reciprocal().square() * torch.sigmoid(x))


def _times(x: Tensor, weight: Tensor) -> Tensor:
    """x·weight, 0 where the weight is: also for x = ±∞."""
    return torch.where(weight == 0, 0.0, x * weight)


def _softplus(parameters: tuple[float, ...]) -> Smooth:
    beta = parameters[0]
    return Smooth(lambda x: torch.sigmoid(beta * x), 0.0, div_up(beta, 4.0))


def _both(derivative: Callable[[Tensor], Tensor], most: float) -> Smooth:
    return Smooth(derivative, -most, most)


_PLAIN: Mapping[str, Smooth] = {
    "sigmoid": _both(_sigmoid, _SIGMOID),
    "tanh": _both(lambda x: 1 - torch.tanh(x).square(), _TANH),
    "logsigmoid": Smooth(lambda x: torch.sigmoid(-x), -0.25, 0.0),
    "sin": _both(torch.cos, 1.0),
    "cos": _both(lambda x: -torch.sin(x), 1.0),
    "atan": _both(lambda x: 1 / (1 + x * x), _ATAN),
    "asinh": _both(lambda x: torch.rsqrt(1 + x * x), _ASINH),
    "erf": _both(lambda x: 2 / _ROOT_PI * torch.exp(-x * x), _ERF),
    "gelu": Smooth(_gelu, *_GELU),
    "gelu_tanh": Smooth(_gelu_tanh, *_GELU_TANH),
    "silu": Smooth(_silu, *_SILU),
    "mish": Smooth(_mish, *_MISH),
}
SMOOTH: tuple[str, ...] = ("softplus", *_PLAIN)
"""The activations of which φ″ is bounded, by their names in `activation`."""


def smooth(op: Elementwise) -> Smooth | None:
    """What is known of an activation's second derivative; None if nothing is."""
    return _softplus(op.parameters) if op.name == "softplus" else _PLAIN.get(op.name)
