"""Concatenation of live and constant tensors.

The parts occupy disjoint cells, so ‖y − y'‖² = Σ‖xᵢ − xᵢ'‖²: gain 1 per input, stacked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.bound import Bound
from lipaudit.graph.node import BoundMap, Combine, Gain, Shape
from lipaudit.ops.spec import Args, Exact, Live, OpSpec

__all__ = ["ROWS", "Concat"]


@dataclass(frozen=True, slots=True, eq=False)
class Concat(Exact):
    """y = cat (or stack) of the inputs and constants, in order; None marks a live part."""

    dim: int
    parts: tuple[Tensor | None, ...]
    stack: bool = False

    @property
    def name(self) -> str:
        """Stack or concat."""
        return "stack" if self.stack else "concat"

    def forward(self, *xs: Tensor) -> Tensor:
        """The map itself."""
        live = iter(xs)
        parts = [next(live) if part is None else part.to(xs[0].dtype) for part in self.parts]
        return torch.stack(parts, self.dim) if self.stack else torch.cat(parts, self.dim)

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """1 for each, stacked."""
        del spectral
        return Gain(tuple(Bound(1.0, "exact") for _ in shapes), Combine.STACK)


def _concat(*, stack: bool) -> Callable[[Args], Concat]:
    def translate(args: Args) -> Concat:
        members = args.members("tensors")
        parts = tuple(None if isinstance(m, Live) else m for m in members)
        return Concat(args.attr("dim"), parts, stack)

    return translate


ROWS = (
    OpSpec(("aten.cat.default",), _concat(stack=False)),
    OpSpec(("aten.stack.default",), _concat(stack=True)),
)
