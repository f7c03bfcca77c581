"""Linear and cubic resizing: y = (A₁ ⊗ A₂ ⊗ …) x, one small matrix per axis.

‖A₁ ⊗ A₂‖ = ‖A₁‖·‖A₂‖ (Horn and Johnson 1991, "Topics in Matrix Analysis", theorem 4.2.15).

The matrices are read off the operation itself: the same call on unit vectors along one axis.  Its weights are
polynomials of degree ≤ 3 in a coordinate that torch computes in float64, at most n in size: they err by less
than 64·n·u, and 4 (antialiased: at most n) of them stand in a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lipaudit.graph.node import BoundMap, Gain, Shape
from lipaudit.ops.spec import Args, OpSpec, Untranslatable
from lipaudit.rounding import UNDERFLOW, UNIT, add_up, gamma, mul_up, sqrt_up
from lipaudit.spectral.maps import Dense
from lipaudit.spectral.schur import schur_bound

__all__ = ["ROWS", "Interpolation"]

Resize = Callable[[Tensor, list[int], list[float | None]], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Interpolation:
    """Resize the axes behind the channels.

    Args:
        function: the operation: input, output extents, stated scales.
        extents: of the output.
        scales: as stated; None where they follow from the extents.
        matrices: one per axis, (out, in).
        name: for reports.
    """

    function: Resize
    extents: tuple[int, ...]
    scales: tuple[float | None, ...]
    matrices: tuple[Tensor, ...]
    name: str
    absolute: float = field(init=False)

    def __post_init__(self) -> None:
        sizes = [add_up(schur_bound(Dense(matrix)), _unsure(matrix)) for matrix in self.matrices]
        object.__setattr__(self, "absolute", mul_up(*sizes))

    def forward(self, *xs: Tensor) -> Tensor:
        """The map itself."""
        return self.function(xs[0], list(self.extents), list(self.scales))

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """∏ ‖A‖."""
        del shapes
        bounds = [spectral(Dense(matrix)) for matrix in self.matrices]
        values = [add_up(b.value, _unsure(m)) for b, m in zip(bounds, self.matrices, strict=True)]
        return Gain.of(mul_up(*values), bounds[0].method)

    def error(self, shapes: tuple[Shape, ...], norms: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """γ of a few sums of at most n terms, and the weights' own rounding."""
        del out
        terms = sum(n for n in shapes[0][2:]) + 16
        weights = sum(_unsure(matrix) for matrix in self.matrices)
        return (gamma(2 * terms) + 2 * weights) * self.absolute * norms[0] + UNDERFLOW


def _unsure(matrix: Tensor) -> float:
    """‖computed A − true A‖."""
    rows, columns = matrix.shape
    taken = float((matrix != 0).sum(1).max()) if matrix.numel() else 0.0
    return mul_up(64 * UNIT, float(columns), sqrt_up(rows * max(4.0, taken)))


def _resize(function: Callable[..., Tensor], name: str) -> Callable[[Args], Interpolation]:
    def translate(args: Args) -> Interpolation:
        shape = args.ref("self" if "self" in args.values else "input")
        args.ignore("output_size")
        axes = len(shape) - 2
        extents = tuple(args.output[2:])
        if "scale_factors" in args.values:
            scales = list(args.attr("scale_factors") or [None] * axes)
        else:
            names = ("scales",) if axes == 1 else ("scales_d", "scales_h", "scales_w")[-axes:]
            scales = [args.attr(key) for key in names]
        aligned = bool(args.attr("align_corners"))

        def run(x: Tensor, size: list[int], stated: list[float | None]) -> Tensor:
            return function(x, size, aligned, *stated)

        matrices = tuple(_matrix(run, shape, extents, scales, axis) for axis in range(axes))
        op = Interpolation(run, extents, tuple(scales), matrices, name)
        _check(op, shape)
        return op

    return translate


def _matrix(
    run: Resize, shape: Shape, extents: Sequence[int], scales: Sequence[float | None], axis: int
) -> Tensor:
    """What the operation does along one axis; the other axes have length 2 and stay as they are.

    Not length 1: antialiased resizing in torch 2.15 gives another result for images one pixel wide.
    """
    n, axes = shape[2 + axis], len(extents)
    units = torch.eye(n, dtype=torch.float64).reshape(n, 1, *(n if i == axis else 1 for i in range(axes)))
    wide = units.expand(n, 1, *(n if i == axis else 2 for i in range(axes))).contiguous()
    size = [extents[i] if i == axis else 2 for i in range(axes)]
    stated = [scales[i] if i == axis else None for i in range(axes)]
    done = run(wide, size, stated).movedim(2 + axis, 1)
    return done.reshape(n, extents[axis], -1)[..., 0].T.contiguous()


def _check(op: Interpolation, shape: Shape) -> None:
    """The operation must be what its matrices say.

    Raises:
        Untranslatable: it is not.
    """
    x = torch.randn((1, *shape[1:]), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wanted = x
    for axis, matrix in enumerate(op.matrices):
        wanted = (wanted.movedim(2 + axis, -1) @ matrix.T).movedim(-1, 2 + axis)
    got = op.forward(x)
    if got.shape != wanted.shape or not torch.allclose(got, wanted, rtol=0.0, atol=1e-9):
        raise Untranslatable(f"{op.name} does not treat its axes one by one here")


def _rows() -> tuple[OpSpec, ...]:
    kinds = {
        "upsample_linear1d": torch.ops.aten.upsample_linear1d,
        "upsample_bilinear2d": torch.ops.aten.upsample_bilinear2d,
        "upsample_trilinear3d": torch.ops.aten.upsample_trilinear3d,
        "upsample_bicubic2d": torch.ops.aten.upsample_bicubic2d,
        "_upsample_bilinear2d_aa": torch.ops.aten._upsample_bilinear2d_aa,  # noqa: SLF001 - its name
        "_upsample_bicubic2d_aa": torch.ops.aten._upsample_bicubic2d_aa,  # noqa: SLF001
    }
    return tuple(
        OpSpec((f"aten.{name}.default", f"aten.{name}.vec"), _resize(packet.default, name.strip("_")))
        for name, packet in kinds.items()
    )


ROWS = _rows()
