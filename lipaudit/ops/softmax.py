"""Softmax (1/2), log-softmax (√m) and logsumexp (1) over one axis of m entries.

Softmax' Jacobian diag(p) − ppᵀ has norm ≤ 1/2 (Gao, Pavel 2017, arXiv 1704.00805, sharpened by
Popoviciu: vᵀ(diag p − ppᵀ)v is a variance of values of v, ≤ (max v − min v)²/4 ≤ ‖v‖²/2).  The gradient
of logsumexp is p, ‖p‖₂ ≤ 1.  Log-softmax is x − 1·logsumexp(x): Jacobian I − 1pᵀ, whose norm is at most
√m: for unit v, ‖v − 1(pᵀv)‖² = 1 − 2(pᵀv)(1ᵀv) + m(pᵀv)², and I − 1pᵀ is a projection along 1, whose
norm equals that of the complementary projection 1pᵀ, √m‖p‖ ≤ √m (m ≥ 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.graph.node import BoundMap, Gain, Shape
from lipaudit.ops.spec import Args, OpSpec, Untranslatable
from lipaudit.rounding import UNIT, sqrt_up

__all__ = ["ROWS", "Softmax"]


@dataclass(frozen=True, slots=True, eq=False)
class Softmax:
    """`name` is softmax, log_softmax or logsumexp, over axis `dim` of m = `terms` entries."""

    name: str
    dim: int
    terms: int
    keepdim: bool = False

    def forward(self, *xs: Tensor) -> Tensor:
        """The function itself."""
        if self.name == "logsumexp":
            return torch.logsumexp(xs[0], self.dim, keepdim=self.keepdim)
        function = torch.softmax if self.name == "softmax" else torch.log_softmax
        return function(xs[0], self.dim)

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """The constants above."""
        del shapes, spectral
        value = {"softmax": 0.5, "log_softmax": sqrt_up(float(self.terms)), "logsumexp": 1.0}[self.name]
        return Gain.of(value, "Jacobian")

    def error(self, shapes: tuple[Shape, ...], norms: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """Exponentials err relatively by |x − max x|u, sums by γ_m; outputs of softmax are ≤ 1."""
        entries = math.sqrt(math.prod(shapes[0]))
        return 8 * UNIT * (self.terms + 16) * entries * (1 + norms[0] + out)


def _softmax(name: str) -> Callable[[Args], Softmax]:
    def translate(args: Args) -> Softmax:
        shape = args.ref("self")
        args.ignore("dtype", "half_to_float")
        dim = args.attr("dim")
        if isinstance(dim, list | tuple):
            if len(dim) != 1:
                raise Untranslatable(f"{name} over several axes has no rule")
            dim = dim[0]
        keepdim = bool(args.attr("keepdim")) if "keepdim" in args.values else False
        return Softmax(name, dim, shape[dim], keepdim)

    return translate


ROWS = (
    OpSpec(("aten.softmax.int", "aten._softmax.default"), _softmax("softmax")),
    OpSpec(("aten.log_softmax.int", "aten._log_softmax.default"), _softmax("log_softmax")),
    OpSpec(("aten.logsumexp.default",), _softmax("logsumexp")),
)
