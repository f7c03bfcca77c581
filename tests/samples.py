"""One small module or more for every operation the audit understands: ATen name → module, input shape.

`SAMPLES` is what the contract tests of `ops` run on.  A row of `OPS` that neither a sample reaches nor
`ops/test_rows.py` calls fails a test.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from sample_fourier import complex_samples, fourier_samples
from sample_kind import BOX, LINE, MAP, SPATIAL, VECTOR, Call, Sample, filled, seeded
from sample_moves import reduction_samples, resize_samples, shape_samples, softmax_samples
from torch import Tensor, nn

from lipaudit.analyze import Layer, analyze
from lipaudit.graph.graph import LayerGraph
from lipaudit.load.export import export_module
from lipaudit.load.translate import translate

__all__ = ["SAMPLES", "Call", "Sample", "exported", "graph_of", "layers_of"]


def any_conv(axes: int, *, transposed: bool = False, **options: object) -> nn.Module:
    """A convolution 4 → 6 channels with everything set."""
    kinds = {
        (1, False): nn.Conv1d,
        (2, False): nn.Conv2d,
        (3, False): nn.Conv3d,
        (1, True): nn.ConvTranspose1d,
        (2, True): nn.ConvTranspose2d,
        (3, True): nn.ConvTranspose3d,
    }
    return filled(kinds[axes, transposed](4, 6, **{"kernel_size": 3, **options}), seed=axes)


def linear_samples() -> list[Sample]:
    square, wide, stack = seeded(1, 6, 6), seeded(2, 6, 3), seeded(5, 3, 6, 5)
    vector = seeded(6, 6)

    def yes(name: str, module: nn.Module, shape: tuple[int, ...] = VECTOR) -> Sample:
        return Sample(name, module, shape, linear=True)

    return [
        yes("linear", filled(nn.Linear(6, 3))),
        yes("linear without bias", filled(nn.Linear(6, 3, bias=False))),
        yes("linear over tokens", filled(nn.Linear(6, 3)), (1, 4, 6)),
        yes("addmm", Call(lambda x, b, w: torch.addmm(b, x, w), b=seeded(3, 3), w=wide)),
        yes("addmm bias row", Call(lambda x, b, w: torch.addmm(b, x, w), b=seeded(3, 1, 3), w=wide)),
        yes("mm", Call(torch.mm, w=wide)),
        yes("mm from the left", Call(lambda x, w: torch.mm(w, x), w=seeded(4, 5, 1))),
        yes("bmm", Call(torch.bmm, w=wide[None]), (1, 4, 6)),
        yes("bmm from the left", Call(lambda x, w: torch.bmm(w, x), w=square[None]), (1, 6, 4)),
        yes("matmul", Call(lambda x, w: x @ w, w=wide), (1, 2, 4, 6)),
        yes("matmul from the left", Call(lambda x, w: w @ x, w=square), (1, 2, 6, 3)),
        yes("matmul of a stack of one", Call(lambda x, w: x @ w, w=wide[None]), (1, 4, 6)),
        yes("matmul of a stack", Call(lambda x, w: x @ w, w=stack), (1, 3, 4, 6)),
        yes("matmul with a stack, stretched", Call(lambda x, w: x @ w, w=stack), (1, 1, 4, 6)),
        yes("matmul with a stack, one row", Call(lambda x, w: x @ w, w=stack), (1, 6)),
        yes("a stack from the left", Call(lambda x, w: w @ x, w=stack), (1, 3, 5, 2)),
        yes("a stack from the left, stretched", Call(lambda x, w: w @ x, w=stack[:, None]), (1, 2, 5, 2)),
        yes("matmul with a vector", Call(lambda x, w: x @ w, w=vector), (1, 4, 6)),
        yes("a vector from the left", Call(lambda x, w: w @ x, w=vector), (1, 6, 4)),
        yes("a matrix times a vector", Call(lambda x, w: (w @ x[0])[None], w=square), (1, 6)),
        yes("a vector times a matrix", Call(lambda x, w: (x[0] @ w)[None], w=wide), (1, 6)),
        yes("a stack times a vector", Call(lambda x, w: (w @ x[0])[None], w=stack), (1, 5)),
        yes("cumsum", Call(lambda x: x.cumsum(2)), (1, 3, 4, 2)),
        yes("cumsum backwards", Call(lambda x: x.flip(-1).cumsum(-1))),
        yes("einsum aligned", Call(lambda x, w: torch.einsum("bsti,sij->bsjt", x, w), w=stack), (1, 3, 2, 6)),
        yes("einsum made", Call(lambda x, w: torch.einsum("bi,sij->bjs", x, w), w=stack)),
        yes(
            "einsum summing a live index",
            Call(lambda x, w: torch.einsum("bti,ij->bj", x, w), w=wide),
            (1, 4, 6),
        ),
        yes("einsum, all summed", Call(lambda x, w: torch.einsum("bij,ij->b", x, w), w=wide), (1, 6, 3)),
        yes("einsum, outer", Call(lambda x, w: torch.einsum("bi,o->bio", x, w), w=vector)),
        yes("einsum ij", Call(lambda x, w: torch.einsum("bti,io->bto", x, w), w=wide), (1, 4, 6)),
        yes("einsum ji", Call(lambda x, w: torch.einsum("oi,bi->bo", w, x), w=square)),
    ]


def conv_samples() -> list[Sample]:
    settings: list[dict[str, object]] = [
        {"padding": 1},
        {"stride": 2, "padding": 2, "dilation": 2, "groups": 2},
        {"padding": "same", "kernel_size": 5},
        {"padding": "valid", "bias": False},
    ]
    mirrored: list[dict[str, object]] = [
        {"padding": 1, "padding_mode": mode} for mode in ("circular", "reflect", "replicate")
    ]
    up: list[dict[str, object]] = [
        {"stride": 2, "padding": 1, "output_padding": 1},
        {"groups": 2, "dilation": 2, "bias": False},
    ]
    plain = [
        Sample(f"conv{d}d {o}", any_conv(d, **o), SPATIAL[d], linear=True, exact=False)
        for d in (1, 2, 3)
        for o in settings
    ]
    padded = [
        Sample(f"conv{d}d {o}", any_conv(d, **o), SPATIAL[d], linear=True, exact=False)
        for d in (1, 2)
        for o in mirrored
    ]
    turned = [
        Sample(
            f"conv_transpose{d}d {o}", any_conv(d, transposed=True, **o), SPATIAL[d], linear=True, exact=False
        )
        for d in (1, 2, 3)
        for o in up
    ]
    return [*plain, *padded, *turned]


def activation_samples() -> list[Sample]:
    names: list[tuple[str, nn.Module | Callable[[Tensor], Tensor], float]] = [
        ("relu", torch.relu, 1),
        ("relu6", F.relu6, 1),
        ("abs", torch.abs, 1),
        ("tanh", torch.tanh, 1),
        ("hardtanh", nn.Hardtanh(-2, 0.5), 1),
        ("hardtanh reversed", lambda x: F.hardtanh(x, -3, -3), 0),
        ("sigmoid", torch.sigmoid, 0.25),
        ("softplus", nn.Softplus(), 1),
        ("softplus 3", nn.Softplus(3.0), 1),
        ("softplus 0.1", nn.Softplus(0.1, 30), 1),
        ("logsigmoid", F.logsigmoid, 1),
        ("sin", torch.sin, 1),
        ("cos", torch.cos, 1),
        ("atan", torch.atan, 1),
        ("asinh", torch.asinh, 1),
        ("erf", torch.erf, 2 / math.sqrt(math.pi)),
        ("leaky_relu", nn.LeakyReLU(0.2), 1),
        ("leaky_relu steep", nn.LeakyReLU(3.5), 3.5),
        ("leaky_relu negative", nn.LeakyReLU(-2.0), 2),
        ("elu", nn.ELU(), 1),
        ("elu 3", nn.ELU(3.0), 3),
        ("elu negative", nn.ELU(-2.0), 2),
        ("selu", nn.SELU(), 1.7580993408473769),
        ("celu", nn.CELU(0.7), 1),
        ("celu 3", nn.CELU(3.0), 1),
        ("gelu", nn.GELU(), 1.128904145185155),
        ("gelu tanh", nn.GELU("tanh"), 1.128993068658772),
        ("silu", nn.SiLU(), 1.0998393201288669),
        ("mish", nn.Mish(), 1.0884981612517279),
        ("hardsigmoid", nn.Hardsigmoid(), 1 / 6),
        ("hardswish", nn.Hardswish(), 1.5),
        ("threshold", nn.Threshold(0.4, 0.4), 1),
        ("prelu", nn.PReLU(init=1.75), 1.75),
        ("prelu negative", nn.PReLU(init=-1.5), 1.5),
    ]
    found = [
        Sample(
            name,
            f if isinstance(f, nn.Module) else Call(f),
            VECTOR,
            true=float(true),
            rough=name.startswith(("hardsigmoid", "celu", "leaky_relu")),
        )
        for name, f, true in names
    ]
    channels = filled(nn.PReLU(4), seed=3)
    return [
        *found,
        Sample("prelu per channel", channels, MAP, true=float(channels.weight.detach().abs().max())),
    ]


def pool_samples() -> list[Sample]:
    found = []
    for d in (1, 2, 3):
        shape = SPATIAL[d]
        most, mean = (getattr(nn, f"{kind}Pool{d}d") for kind in ("Max", "Avg"))
        found += [
            Sample(f"max_pool{d}d", most(3, stride=2, padding=1), shape),
            Sample(f"max_pool{d}d ceil dilated", most(2, stride=1, dilation=2, ceil_mode=True), shape),
            Sample(f"avg_pool{d}d", mean(3, stride=2, padding=1), shape, linear=True),
            Sample(
                f"avg_pool{d}d ceil",
                mean(2, padding=1, ceil_mode=True, count_include_pad=False),
                shape,
                linear=True,
            ),
            Sample(f"adaptive_max_pool{d}d", getattr(nn, f"AdaptiveMaxPool{d}d")(2), shape),
            Sample(f"adaptive_avg_pool{d}d", getattr(nn, f"AdaptiveAvgPool{d}d")(2), shape, linear=True),
        ]
    override = nn.AvgPool2d(3, stride=2, padding=1, divisor_override=4)
    indices = Call(lambda x: F.max_pool2d(x, 2, return_indices=True)[0])
    return [
        *found,
        Sample("avg_pool2d divisor", override, MAP, linear=True),
        Sample("max_pool2d with indices", indices, MAP),
        Sample("max_pool1d with indices", Call(lambda x: F.max_pool1d(x, 2, return_indices=True)[0]), LINE),
        Sample("max_pool3d with indices", Call(lambda x: F.max_pool3d(x, 2, return_indices=True)[0]), BOX),
    ]


def normalization_samples() -> list[Sample]:
    return [
        Sample("batch_norm1d", filled(nn.BatchNorm1d(6)), VECTOR, linear=True),
        Sample("batch_norm2d", filled(nn.BatchNorm2d(4)), MAP, linear=True),
        Sample("batch_norm3d plain", filled(nn.BatchNorm3d(4, affine=False)), BOX, linear=True),
        Sample("layer_norm", filled(nn.LayerNorm(6, eps=0.3)), (1, 4, 6)),
        Sample("layer_norm plain", nn.LayerNorm([5, 6], elementwise_affine=False), MAP),
        Sample("group_norm", filled(nn.GroupNorm(2, 4, eps=0.1)), MAP),
        Sample("instance_norm", filled(nn.InstanceNorm2d(4, eps=0.2, affine=True)), MAP),
        Sample("instance_norm plain", nn.InstanceNorm1d(4), LINE),
        Sample("group_norm plain", nn.GroupNorm(4, 4, affine=False), LINE),
    ]


def arithmetic_samples() -> list[Sample]:
    row, tall = seeded(5, 6), seeded(6, 4, 6)

    def yes(name: str, f: Callable[..., Tensor], *, exact: bool = True, **buffers: Tensor) -> Sample:
        return Sample(name, Call(f, **buffers), VECTOR, linear=True, exact=exact)

    return [
        yes("add", lambda x: x + x.flip(1), exact=True),
        yes("add alpha", lambda x: torch.add(x, x.flip(1), alpha=-0.3), exact=False),
        yes("add scalar", lambda x: x + 1.5),
        yes("add constant", lambda x, c: torch.add(c, x, alpha=-2.5), c=row),
        yes("add larger constant", lambda x, c: x + c, c=tall),
        yes("add broadcast", lambda x: x[:, :, None] + x[:, None, :], exact=False),
        yes("sub", lambda x: x[:, :3] - x[:, 3:], exact=False),
        yes("sub constant", lambda x, c: torch.sub(c, x, alpha=3), c=row),
        yes("rsub", lambda x: torch.rsub(x, 2.0, alpha=1.5)),
        yes("rsub live", lambda x: torch.rsub(x, x.flip(1), alpha=0.5), exact=False),
        yes("mul", lambda x, c: x * c, c=row),
        yes("mul scalar", lambda x: x * -3.25),
        yes("mul larger constant", lambda x, c: c * x, c=tall.abs().amax(0) * torch.ones(4, 6)),
        yes("div", lambda x, c: x / c, c=row),
        yes("div scalar", lambda x: x / 255),
        yes("neg", torch.neg),
        Sample("clamp", Call(lambda x: x.clamp(-0.5, 1)), VECTOR, true=1),
        Sample(
            "clamp to tensors",
            Call(lambda x, a, b: x.clamp(a, b), a=-row.abs(), b=tall.abs()),
            VECTOR,
            true=2,
        ),
        Sample("clamp_min", Call(lambda x: x.clamp_min(-0.5)), VECTOR, true=1),
        Sample("clamp_min tensor", Call(lambda x, a: x.clamp_min(a), a=row), VECTOR, true=1),
        Sample("clamp_max", Call(lambda x: x.clamp_max(0.5)), VECTOR, true=1),
        Sample("clamp_max tensor", Call(lambda x, a: x.clamp_max(a), a=row), VECTOR, true=1),
        Sample("clamp live", Call(lambda x: x.clamp(min=2 * x.flip(1))), VECTOR),
        Sample("maximum", Call(lambda x: torch.maximum(x, 3 * x.flip(1))), VECTOR),
        Sample("maximum constant", Call(torch.maximum, c=row), VECTOR, true=1),
        Sample("minimum", Call(lambda x: torch.minimum(x[:, :, None], x[:, None])), VECTOR),
        Sample("minimum constant", Call(torch.minimum, c=tall), VECTOR, true=2),
        Sample("max other", Call(lambda x: torch.max(x, x.flip(1))), VECTOR),
        Sample("min other", Call(lambda x: torch.min(x, x.flip(1))), VECTOR),
    ]


SAMPLES: dict[str, Sample] = {
    sample.name: sample
    for family in (
        linear_samples,
        conv_samples,
        activation_samples,
        pool_samples,
        normalization_samples,
        arithmetic_samples,
        reduction_samples,
        resize_samples,
        shape_samples,
        softmax_samples,
        fourier_samples,
        complex_samples,
    )
    for sample in family()
}


@cache
def exported(name: str) -> torch.export.ExportedProgram:
    """The decomposed program of a sample.

    Decomposing takes most of a test's time; in one and three dimensions, where the samples only repeat
    what two dimensions show, the program stays as it was captured.
    """
    sample = SAMPLES[name]
    if sample.shape in (LINE, BOX) and "max_pool" not in name:
        with torch.no_grad():
            return torch.export.export(sample.module, (torch.zeros(sample.shape, dtype=torch.float64),))
    return export_module(sample.module.double(), torch.zeros(sample.shape, dtype=torch.float64), name)


@cache
def graph_of(name: str) -> LayerGraph:
    """The layer graph of a sample, before any pass."""
    return translate(exported(name))


@cache
def layers_of(name: str) -> tuple[Layer, ...]:
    """Its analysis."""
    return analyze(graph_of(name))
