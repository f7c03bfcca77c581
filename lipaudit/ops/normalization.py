"""Normalisation layers.

Batch norm in eval mode is affine with scale γ/√(var + ε) per channel.  In training mode the samples
of a batch meet each other, so no per-sample statement exists.

Layer, group and instance norm: x ↦ γ(x − μ)/√(σ² + ε) + β over m entries.  With P the projection that
removes the mean, z = Px/√m and g(z) = z/√(‖z‖² + ε) has slope ≤ 1/√ε (its Jacobian
(I − zzᵀ/(‖z‖²+ε))/√(‖z‖²+ε) has norm ≤ 1/√ε); the output is √m·γ∘g(Px/√m), so

    gain ≤ max|γ|/√ε,      finite and huge.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.graph.node import BoundMap, Gain, Shape
from lipaudit.ops.arithmetic import Affine
from lipaudit.ops.spec import Args, OpSpec, Untranslatable
from lipaudit.rounding import UNDERFLOW, div_up, gamma, mul_up, sqrt_down

__all__ = ["BATCH_NORM_ULPS", "ROWS", "Standardize"]

BATCH_NORM_ULPS = 6
"""Roundings behind γ/√(var + ε): sum, root, quotient, with one spare for each."""
SMALLEST_SCALE = 2.0**-1020
"""Below, quotients are not rounded relatively any more."""


def _batch_norm(args: Args) -> Affine:
    shape = args.ref("input")
    args.ignore("momentum", "cudnn_enabled")
    if args.values.get("training"):
        raise Untranslatable("batch norm in training mode couples the samples of a batch")
    args.ignore("training")
    mean, var, eps = args.optional("running_mean"), args.optional("running_var"), args.attr("eps")
    gamma_, beta = args.optional("weight"), args.optional("bias")
    if mean is None or var is None:
        raise Untranslatable("batch norm without running statistics couples the samples of a batch")
    if not bool((var + eps > 0).all()):
        raise Untranslatable("batch norm has a variance + eps that is not positive")
    scale = (var + eps).rsqrt() if gamma_ is None else gamma_ / (var + eps).sqrt()
    zero = torch.zeros_like(mean, dtype=torch.bool) if gamma_ is None else gamma_ == 0
    beta = torch.zeros_like(mean) if beta is None else beta
    if not bool(torch.isfinite(scale).all() & torch.isfinite(beta - mean * scale).all()):
        raise Untranslatable("batch norm has a scale or shift that is NaN or infinite")
    if not bool(((scale.abs() >= SMALLEST_SCALE) | (scale == 0) & zero).all()):
        raise Untranslatable("batch norm has a scale so small that float64 does not hold it")
    per_channel = (1, -1, *[1] * (len(shape) - 2))
    return Affine(
        scale.reshape(per_channel),
        (beta - mean * scale).reshape(per_channel),
        BATCH_NORM_ULPS,
        (beta.abs() + (mean * scale).abs()).reshape(per_channel),
        "batch_norm",
    )


def _eval_batch_norm(args: Args) -> tuple[Affine | None, ...]:
    return (_batch_norm(args), None, None)


def _training(args: Args) -> tuple[Affine | None, ...]:
    del args
    raise Untranslatable("batch norm in training mode couples the samples of a batch")


@dataclass(frozen=True, slots=True, eq=False)
class Standardize:
    """Layer, group or instance norm."""

    function: Callable[[Tensor], Tensor]
    largest: float
    eps: float
    shift: float
    terms: int
    name: str

    def forward(self, *xs: Tensor) -> Tensor:
        """The function itself."""
        return self.function(xs[0])

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """max|γ|/√ε."""
        del shapes, spectral
        return Gain.of(self._gain(), "1/√eps")

    def _gain(self) -> float:
        return mul_up(self.largest, div_up(1.0, sqrt_down(self.eps)))

    def error(self, shapes: tuple[Shape, ...], norms: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """The mean errs by γ_m‖x‖, amplified by the gain; the rest is relative to the output."""
        del shapes
        return gamma(self.terms + 32) * (4 * self._gain() * norms[0] + 2 * out + 2 * self.shift) + UNDERFLOW


def _standardize(kind: str) -> Callable[[Args], Standardize]:
    def translate(args: Args) -> Standardize:
        shape = args.ref("input")
        args.ignore("cudnn_enable", "cudnn_enabled")
        weight, bias, eps = args.optional("weight"), args.optional("bias"), float(args.attr("eps"))
        if not all(w is None or bool(torch.isfinite(w).all()) for w in (weight, bias)):
            raise Untranslatable(f"{kind} has a weight or bias that is NaN or infinite")
        if not 0 < eps < math.inf:
            raise Untranslatable(f"{kind} with eps = {eps} has no Lipschitz constant")
        if kind == "layer_norm":
            sizes = list(args.attr("normalized_shape"))
            terms = math.prod(sizes)

            def function(x: Tensor) -> Tensor:
                return torch.nn.functional.layer_norm(x, sizes, _like(weight, x), _like(bias, x), eps)
        else:
            groups = args.attr("num_groups")
            terms = math.prod(shape[1:]) // groups

            def function(x: Tensor) -> Tensor:
                return torch.nn.functional.group_norm(x, groups, _like(weight, x), _like(bias, x), eps)

        largest = 1.0 if weight is None else float(weight.abs().max())
        shift = 0.0 if bias is None else float(bias.abs().max()) * math.sqrt(math.prod(shape))
        return Standardize(function, largest, eps, shift, terms, kind)

    return translate


def _instance_norm(args: Args) -> Standardize:
    shape = args.ref("input")
    if not args.attr("use_input_stats"):
        raise Untranslatable("instance norm with running statistics has no rule")
    args.ignore("running_mean", "running_var", "momentum", "cudnn_enabled")
    weight, bias, eps = args.optional("weight"), args.optional("bias"), float(args.attr("eps"))
    if not all(w is None or bool(torch.isfinite(w).all()) for w in (weight, bias)):
        raise Untranslatable("instance norm has a weight or bias that is NaN or infinite")
    if not 0 < eps < math.inf:
        raise Untranslatable(f"instance norm with eps = {eps} has no Lipschitz constant")

    def function(x: Tensor) -> Tensor:
        # As group norm: torch's own refuses a single entry per channel.
        return torch.nn.functional.group_norm(x, x.shape[1], _like(weight, x), _like(bias, x), eps)

    largest = 1.0 if weight is None else float(weight.abs().max())
    shift = 0.0 if bias is None else float(bias.abs().max()) * math.sqrt(math.prod(shape))
    return Standardize(function, largest, eps, shift, math.prod(shape[2:]), "instance_norm")


def _like(values: Tensor | None, x: Tensor) -> Tensor | None:
    return None if values is None else values.to(x)


ROWS = (
    OpSpec(("aten.batch_norm.default",), _batch_norm),
    OpSpec(
        ("aten._native_batch_norm_legit_no_training.default", "aten.native_batch_norm.default"),
        _eval_batch_norm,
    ),
    OpSpec(
        ("aten._native_batch_norm_legit.default", "aten._native_batch_norm_legit.no_stats",
         "aten._native_batch_norm_legit_functional.default"),
        _training,
    ),
    OpSpec(("aten.layer_norm.default",), _standardize("layer_norm")),
    OpSpec(("aten.group_norm.default",), _standardize("group_norm")),
    OpSpec(("aten.instance_norm.default",), _instance_norm),
)  # fmt: skip
