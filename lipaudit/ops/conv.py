"""Convolutions in 1, 2 and 3 dimensions, transposed ones included: y = K ⋆ x + b.

The geometry (padding mode included, once a pad was merged) lives in `spectral.Conv`, which also runs
it; `ulps` and `bias_size` are as in `linear`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from lipaudit.graph.node import BoundMap, Gain, Shape
from lipaudit.ops.linear import affine_error, perturbed
from lipaudit.ops.spec import Args, OpSpec, Untranslatable
from lipaudit.spectral.maps import Conv
from lipaudit.spectral.schur import schur_bound

__all__ = ["ROWS", "Convolution"]


@dataclass(frozen=True, slots=True, eq=False)
class Convolution:
    """y = T x + b for x of shape (1, c_in, *image); `bias` broadcasts to (c_out, *out_image), or None."""

    map: Conv
    bias: Tensor | None = None
    ulps: int = 0
    bias_size: Tensor | None = None
    absolute: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "absolute", schur_bound(self.map.base()))

    @property
    def name(self) -> str:
        """Such as conv2d or conv_transpose1d."""
        return f"conv{'_transpose' if self.map.transposed else ''}{len(self.map.image)}d"

    def forward(self, *xs: Tensor) -> Tensor:
        """The map itself."""
        y = self.map.apply(xs[0])
        return y if self.bias is None else y + self.bias.to(y.dtype)

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """‖T‖ on this image, plus what folding may have rounded away."""
        del shapes
        return Gain((perturbed(spectral(self.map), self.ulps, self.absolute),))

    def error(self, shapes: tuple[Shape, ...], norms: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """γ_m(‖|T|‖‖x‖ + ‖b‖√positions), m = kernel entries per output."""
        del shapes, out
        kernel = self.map.weight.shape
        terms = (kernel[0] if self.map.transposed else kernel[1]) * math.prod(kernel[2:])
        size = self.bias_size if self.bias_size is not None else self.bias
        full = None if size is None else size.expand(self.map.out_shape)
        return affine_error(terms + self.ulps, self.absolute, norms[0], full, 1)


def _image(shape: Shape, axes: int) -> tuple[int, ...]:
    if len(shape) != axes + 2 or shape[0] != 1:
        raise Untranslatable(f"a convolution over a tensor of shape {shape} has no rule")
    return shape[2:]


def _spread(values: Sequence[int], axes: int) -> tuple[int, ...]:
    return tuple(values) * axes if len(values) == 1 else tuple(values)


def _conv(axes: int) -> Callable[[Args], Convolution]:
    def translate(args: Args) -> Convolution:
        image = _image(args.ref("input"), axes)
        weight, bias = args.const("weight"), args.optional("bias")
        stride, dilation = _spread(args.attr("stride"), axes), _spread(args.attr("dilation"), axes)
        padding = args.attr("padding")
        pads: list[tuple[int, int]] = []
        if padding == "same":
            for k, d in zip(weight.shape[2:], dilation, strict=True):
                total = d * (k - 1)
                pads.append((total // 2, total - total // 2))
        elif padding == "valid":
            pads = [(0, 0)] * axes
        else:
            pads = [(p, p) for p in _spread(padding, axes)]
        conv = Conv(weight, image, stride=stride, padding=pads, dilation=dilation, groups=args.attr("groups"))
        return Convolution(conv, None if bias is None else bias.reshape(-1, *[1] * axes))

    return translate


def _transposed(axes: int) -> Callable[[Args], Convolution]:
    def translate(args: Args) -> Convolution:
        image = _image(args.ref("input"), axes)
        weight, bias = args.const("weight"), args.optional("bias")
        padding = _spread(args.attr("padding"), axes)
        extra = _spread(args.attr("output_padding"), axes)
        conv = Conv(
            weight,
            image,
            stride=_spread(args.attr("stride"), axes),
            # Output padding lets more of the right border through: a smaller right padding.
            padding=[(p, p - o) for p, o in zip(padding, extra, strict=True)],
            dilation=_spread(args.attr("dilation"), axes),
            groups=args.attr("groups"),
            transposed=True,
        )
        return Convolution(conv, None if bias is None else bias.reshape(-1, *[1] * axes))

    return translate


def _general(args: Args) -> Convolution:
    """aten.convolution: one call for all kinds."""
    axes = len(args.values["input"].shape) - 2
    transposed = args.attr("transposed")
    if not transposed:
        args.ignore("output_padding")
    return (_transposed if transposed else _conv)(axes)(args)


ROWS = (
    OpSpec(("aten.conv1d.default", "aten.conv1d.padding"), _conv(1)),
    OpSpec(("aten.conv2d.default", "aten.conv2d.padding"), _conv(2)),
    OpSpec(("aten.conv3d.default", "aten.conv3d.padding"), _conv(3)),
    OpSpec(("aten.conv_transpose1d.default",), _transposed(1)),
    OpSpec(("aten.conv_transpose2d.input",), _transposed(2)),
    OpSpec(("aten.conv_transpose3d.input",), _transposed(3)),
    OpSpec(("aten.convolution.default",), _general),
)
