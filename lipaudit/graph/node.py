"""What a layer graph is made of: operations, the gains they promise, and where they came from.

For an op `f(x₁, …, x_k)` a `Gain` promises, for all inputs,

    SUM:    ‖f(x) − f(y)‖ ≤ Σ gᵢ‖xᵢ − yᵢ‖
    STACK:  ‖f(x) − f(y)‖ ≤ √Σ (gᵢ‖xᵢ − yᵢ‖)²

with l2 norms over whole tensors.  Shapes carry a leading 1 where the model had its batch: a graph
is a function of one sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor

from lipaudit.bound import Bound
from lipaudit.errors import Incomplete

if TYPE_CHECKING:
    from lipaudit.spectral.maps import LinearMap

__all__ = ["BoundMap", "Combine", "Gain", "Node", "Op", "Origin", "Shape", "Unsupported"]

Shape = tuple[int, ...]

BoundMap = Callable[["LinearMap"], Bound]
"""How an op asks for the norm of a linear map; `analyze` decides how hard to try."""


class Combine(Enum):
    """How the gains of several inputs combine."""

    SUM = "sum"
    STACK = "stack"


@dataclass(frozen=True, slots=True)
class Gain:
    """One bound per input, and how they combine."""

    per_input: tuple[Bound, ...]
    combine: Combine = Combine.SUM

    @classmethod
    def of(cls, value: float, method: str, note: str = "") -> Gain:
        """The gain of an op with one input."""
        return cls((Bound.computed(value, method, note),))


@runtime_checkable
class Op(Protocol):
    """One operation of the graph, its constants included (float64)."""

    @property
    def name(self) -> str:
        """What a report calls it, e.g. `conv2d`."""
        ...

    def forward(self, *xs: Tensor) -> Tensor:
        """The function itself, on tensors of one sample (leading 1 included)."""
        ...

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """What the op promises about differences, given its inputs' shapes."""
        ...

    def error(self, shapes: tuple[Shape, ...], norms: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """Rounding made by `forward` itself in float64.

        Args:
            shapes: the inputs' shapes.
            norms: the l2 norm of each computed input, per sample, shape (batch,).
            out: the l2 norm of the computed output, per sample, shape (batch,).

        Returns:
            An upper bound on ‖fl(f(x)) − f(x)‖ per sample, shape (batch,).
        """
        ...


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a node came from, for messages: the exporter's name for it and the user's source line."""

    target: str = ""
    location: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One use of an op: `inputs` are names of earlier nodes, `shape` is the output's."""

    name: str
    op: Op
    inputs: tuple[str, ...]
    shape: Shape
    origin: Origin = Origin()


@dataclass(frozen=True, slots=True, eq=False)
class Unsupported:
    """An op nobody bounded: it may still run (`run`), its gain is infinite, its reason is reported.

    `constants` are its scalar arguments: a pass may recognise it as part of a known function.
    """

    target: str
    reason: str
    run: Callable[..., Tensor] | None = None
    constants: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """The exporter's name of the op."""
        return self.target

    def forward(self, *xs: Tensor) -> Tensor:
        """Run the original operation.

        Raises:
            Incomplete: if it cannot be run here.
        """
        if self.run is None:
            msg = f"{self.target} cannot be evaluated: {self.reason}"
            raise Incomplete(msg)
        return self.run(*xs)

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """Infinite, with the reason."""
        del spectral
        return Gain(tuple(Bound.unbounded(self.reason) for _ in shapes))

    def error(self, shapes: tuple[Shape, ...], norms: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """Nothing is known about it."""
        del shapes, norms
        return torch.full_like(out, torch.inf)
