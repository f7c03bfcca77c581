"""Dense layers: y = x Wᵀ + b on the last axis.

Other axes are independent copies, so the norm of the whole map is ‖W‖.

A folded weight (see `passes`) carries `ulps`: the true weight is W∘(1 + δ), |δ| ≤ ulps·u entrywise, so
‖W_true‖ ≤ ‖W‖ + ulps·u·‖|W|‖.  `bias_size` bounds |b| entrywise before cancellation.

Rounding of one pass: |fl(Wx + b) − (Wx + b)| ≤ γ_{n+2+ulps}(|W||x| + |b|)   (Higham 2002, sec. 3.5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from lipaudit.bound import Bound
from lipaudit.graph.node import BoundMap, Gain, Shape
from lipaudit.ops.spec import Args, OpSpec, Untranslatable
from lipaudit.rounding import UNDERFLOW, UNIT, add_up, gamma, mul_up
from lipaudit.spectral.maps import Dense
from lipaudit.spectral.schur import schur_bound

__all__ = ["ROWS", "Linear", "affine_error", "perturbed"]


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """y = x Wᵀ + b over the last axis; W (out, in), b (out,) or None."""

    weight: Tensor
    bias: Tensor | None = None
    ulps: int = 0
    bias_size: Tensor | None = None
    name: str = "linear"
    absolute: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "absolute", schur_bound(Dense(self.weight)))

    def forward(self, *xs: Tensor) -> Tensor:
        """The map itself."""
        dtype = xs[0].dtype
        return F.linear(xs[0], self.weight.to(dtype), None if self.bias is None else self.bias.to(dtype))

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """‖W‖, plus what folding may have rounded away."""
        del shapes
        return Gain((perturbed(spectral(Dense(self.weight)), self.ulps, self.absolute),))

    def error(self, shapes: tuple[Shape, ...], norms: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """γ_m(‖|W|‖‖x‖ + ‖b‖√positions)."""
        del out
        positions = math.prod(shapes[0][:-1])
        size = self.bias_size if self.bias_size is not None else self.bias
        return affine_error(self.weight.shape[1] + self.ulps, self.absolute, norms[0], size, positions)


def perturbed(bound: Bound, ulps: int, absolute: float) -> Bound:
    """Bound of a map whose entries are known to `ulps` roundings; `absolute` ≥ ‖|T|‖."""
    if not ulps or not bound.is_finite:
        return bound
    value = add_up(bound.value, mul_up(gamma(ulps), absolute))
    return Bound.computed(value, bound.method, bound.note)


def affine_error(terms: int, absolute: float, norm: Tensor, bias: Tensor | None, positions: int) -> Tensor:
    """γ_{terms+2}(absolute·‖x‖ + ‖b‖·√positions) plus underflow, per sample."""
    shift = 0.0 if bias is None else float(torch.linalg.vector_norm(bias)) * math.sqrt(positions)
    return gamma(terms + 4) * (1 + 8 * UNIT) * (absolute * norm + shift) + UNDERFLOW


def _linear(args: Args) -> Linear:
    args.ref("input")
    return Linear(args.const("weight"), args.optional("bias"))


def _addmm(args: Args) -> Linear:
    alpha, beta = float(args.attr("alpha")), float(args.attr("beta"))
    args.ref("mat1")
    weight, bias = args.const("mat2"), args.const("self")
    if alpha != 1 or beta != 1:
        raise Untranslatable("addmm with alpha or beta other than 1 has no rule")
    if bias.numel() != bias.shape[-1] if bias.dim() else False:
        raise Untranslatable("addmm whose bias differs between rows has no rule")
    return Linear(weight.T.contiguous(), bias.reshape(-1).expand(weight.shape[1]).contiguous())


ROWS = (
    OpSpec(("aten.linear.default",), _linear),
    OpSpec(("aten.addmm.default",), _addmm),
)
