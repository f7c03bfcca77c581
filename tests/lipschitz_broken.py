"""Layers that look 1-Lipschitz and are not: negative controls, each with a slope that it really has.

Where a layer is linear the slope is its norm.  Where it is a block with relu, its biases are so large that
every unit is active at 0, and the Jacobian there is I − sWᵀW (or what stands in its place): for blocks whose
only defect is their factor that is the constant itself, max(1, s‖W‖² − 1).  `exact` says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import lipschitz_convs as layers
import lipschitz_nets as blocks
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from jacobian import largest_slope
from lipschitz_nets import Function, Layer, Weights, conv_norm, generator, normal
from torch import Tensor, nn

__all__ = ["Broken", "broken"]

IMAGE, VECTOR = (1, 3, 6, 6), (1, 6)
ACTIVE = 100.0
"""A bias with which every unit is active near 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Broken:
    """A layer, the shape it takes, and its largest slope at `point`; `exact`: that is its constant."""

    name: str
    module: nn.Module
    shape: tuple[int, ...]
    exact: bool
    point: Tensor

    def slope(self) -> float:
        """‖J(point)‖ by automatic differentiation and a singular value decomposition."""
        return largest_slope(self.module.double(), self.point.double())


def broken() -> tuple[Broken, ...]:
    """All of them, made anew."""
    made = (*_linear(), *_factors(), *_premises(), *_dense())
    found = [Broken(n, module.eval(), shape, exact, torch.zeros(shape)) for n, module, shape, exact in made]
    return (*found, _gelu())


def _linear() -> list[tuple[str, nn.Module, tuple[int, ...], bool]]:
    average = Layer(
        lambda x, w: F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), w),
        {"w": torch.full((1, 1, 3, 3), 1 / 9)},
    )
    return [
        ("SOC of 5 terms at 2.1", blocks.soc_conv(0, terms=5, norm=2.1), (1, 4, 6, 6), True),
        ("SOC of 2 terms", blocks.soc_conv(0, terms=2), (1, 4, 6, 6), True),
        ("dense SOC of 5 terms at 2.1", blocks.soc_dense(0, terms=5, norm=2.1), VECTOR, True),
        ("SOC, one weight changed", _shaken_soc(1.1), (1, 4, 6, 6), True),
        ("SOC, one weight changed by an ulp", _shaken_soc(1 + 2.0**-23), (1, 4, 6, 6), True),
        ("SOC that reflects at the border", _reflected_soc(), (1, 4, 6, 6), True),
        ("ECO, 3 does not divide 7", layers.eco(0, image=7), (1, 3, 7, 7), True),
        ("ECO, 3 does not divide 8", layers.eco(0, image=8), (1, 3, 8, 8), True),
        ("averages with reflected borders", average, (1, 1, 8, 8), True),
        ("spectral norm of the reshaped kernel", layers.spectral_norm(0), IMAGE, True),
        ("ONI", layers.oni(0), IMAGE, True),
        ("last layer by rows", layers.last_layer(0), VECTOR, True),
    ]


def _shaken_soc(factor: float) -> Layer:
    layer = blocks.soc_conv(0)
    layer.get_parameter("a")[0, 1, 0, 2] *= factor
    return layer


def _reflected_soc() -> Layer:
    weights = dict(blocks.soc_conv(0).named_parameters())

    def function(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        z = y = x
        for j in range(1, 13):
            z = F.conv2d(F.pad(z, (1, 1, 1, 1), mode="reflect"), a) / j
            y = y + z
        return y + b

    return Layer(function, weights)


def _active(layer: Layer) -> Layer:
    """The same with every unit active near 0."""
    layer.get_parameter("b").fill_(ACTIVE)
    return layer


def _factors() -> list[tuple[str, nn.Module, tuple[int, ...], bool]]:
    """Only the factor is wrong."""
    return [
        ("CPL by one step of power iteration", _active(blocks.cpl_conv(1, norm="power")), IMAGE, True),
        ("CPL normalised for 3×3 images", _active(blocks.cpl_conv(1, norm=3)), IMAGE, True),
        *(
            (f"{spelling}: CPL normalised for 3×3 images", _active(layer), IMAGE, True)
            for spelling in blocks.CPL_CONV_SPELLINGS
            for layer in [blocks.cpl_conv(1, norm=3, spelling=spelling)]
        ),
        ("CPL with the other sign", _variant(lambda x, y: x + y), IMAGE, True),
    ]


def _cpl_weights() -> Weights:
    g = generator(3)
    w = normal(g, 3, 3, 3, 3)
    scale = 2 / conv_norm(w, 6, padding=1) ** 2
    return {"w": w, "v": w.clone(), "b": torch.full((3,), ACTIVE), "s": scale}


def _variant(
    join: Function = torch.sub,
    *,
    up: Function | None = None,
    down: Function | None = None,
    start: Function = lambda x: x,
    change: Callable[[Weights], None] = lambda _: None,
) -> Layer:
    """join(x, s·down(relu(up(start(x))))): a CPL block with one part replaced."""
    weights = _cpl_weights()
    change(weights)

    def function(x: Tensor, w: Tensor, v: Tensor, b: Tensor, s: Tensor) -> Tensor:
        h = (up or _up)(start(x), w, b)
        return join(x, s * (down or _down)(torch.relu(h), v))

    return Layer(function, weights)


def _up(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return F.conv2d(x, w, b, padding=1)


def _down(h: Tensor, w: Tensor) -> Tensor:
    return F.conv_transpose2d(h, w, padding=1)


def _circular(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="circular"), w, b)


def _transpose_channels(weights: Weights) -> None:
    weights["v"] = weights["v"].transpose(0, 1)


def _mirror(weights: Weights) -> None:
    weights["v"] = weights["v"].flip(2, 3)


def _shift(weights: Weights) -> None:
    weights["v"] = weights["v"].roll(1, 2)


def _nudge(weights: Weights) -> None:
    rounded = weights["v"].float()
    rounded[0, 1, 2, 0] = torch.nextafter(rounded[0, 1, 2, 0], torch.tensor(torch.inf))
    weights["v"] = rounded


def _negative_units(weights: Weights) -> None:
    weights["s"] = weights["s"] * torch.tensor([1.0, -1.0, 1.0])[:, None, None]


def _premises() -> list[tuple[str, nn.Module, tuple[int, ...], bool]]:
    """One premise of the convex potential is missing each."""
    cases: dict[str, Layer] = {
        "channels of the second weight exchanged": _variant(change=_transpose_channels),
        "second weight mirrored": _variant(change=_mirror),
        "second weight shifted": _variant(change=_shift),
        "second weight changed by an ulp": _variant(change=_nudge),
        "a convolution where its adjoint should be": _variant(down=lambda h, v: F.conv2d(h, v, padding=1)),
        "output shifted by a cell": _variant(down=lambda h, v: F.conv_transpose2d(h, v)[:, :, 2:, 2:]),
        "other padding behind": _variant(
            down=lambda h, v: F.pad(F.conv_transpose2d(h, v, padding=2), (1, 1, 1, 1))
        ),
        "circular before, zeros behind": _variant(up=_circular),
        "from a moved tensor": _variant(start=lambda x: x.roll(1, 3)),
        "from a scaled tensor": _variant(start=lambda x: 2 * x),
        "beside a scaled tensor": _variant(lambda x, y: 1.5 * x - y),
        "beside a moved tensor": _variant(lambda x, y: x.flip(2) - y),
        "subtracted twice": _variant(lambda x, y: x - y - y),
        "the wrong way round, scaled": _variant(lambda x, y: 2 * y - x),
        "some factors negative": _variant(change=_negative_units),
        "a factor per channel behind": _variant(
            lambda x, y: x - y * torch.tensor([3.0, 1.0, 0.5]).to(x)[:, None, None]
        ),
    }
    return [(name, layer, IMAGE, False) for name, layer in cases.items()]


def _dense() -> list[tuple[str, nn.Module, tuple[int, ...], bool]]:
    sandwich = blocks.sandwich(0)
    sandwich.get_parameter("m")[0] *= 3
    sandwich.get_parameter("b").fill_(ACTIVE)

    def two_psis(x: Tensor, at: Tensor, m: Tensor, d: Tensor, b: Tensor) -> Tensor:
        h = torch.relu(math.sqrt(2) * (1 / d) * F.linear(x, m) + b)
        return math.sqrt(2) * F.linear(h * d.flip(0), at)

    other = Layer(two_psis, dict(blocks.sandwich(0).named_parameters()))
    other.get_parameter("b").fill_(ACTIVE)
    doubled = blocks.residual(0)
    doubled.get_parameter("b").fill_(ACTIVE)
    return [
        ("a sandwich with two Ψ", other, VECTOR, False),
        ("a sandwich with a row three times as long", sandwich, VECTOR, False),
        ("a residual block", doubled, VECTOR, False),
    ]


def _gelu() -> Broken:
    """gelu has slopes of 1.1289 and −0.1289: the constant of x − 2wᵀgelu(wx), ‖w‖ = 1, is 1.2578."""
    w = torch.zeros(1, 6)
    w[0, 2] = 1.0
    layer = Layer(lambda x, w: x - 2 * F.linear(F.gelu(F.linear(x, w)), w.t()), {"w": w})
    return Broken("gelu", layer.eval(), VECTOR, exact=True, point=math.sqrt(2) * w)
