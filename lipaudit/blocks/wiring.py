"""A region in normal form: linear maps between a source, hidden units and an output.

    u_i = Σ_a T_ia·a + b_i,    z_i = φ_i(u_i),    y = Σ_a T_ya·a + c,      a ∈ {source, z_1, z_2, …},

φ_i entrywise with slopes in [0, 1] (smaller ones are stretched to that), or the identity where two linear
maps follow each other.  Every T is one convolution (or matrix, or diagonal) times diagonals, so that its
entries are known up to `ulps` roundings: |T_true − T| ≤ γ_ulps|T| entrywise.  Biases do not matter to
differences.

The convolutions are written by the cells they connect:

    reads:   v[y] += Σ_t K_t·a[s·y + o_t]        (a convolution of stride s)
    writes:  v[s·y + o_t] += Σ_t K_t·a[y]        (a transposed one)

with a = 0 outside its image, or periodic where the padding is circular.  Nothing here is a bound.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lipaudit.blocks.region import Region
from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import Node, Shape
from lipaudit.ops.activation import Elementwise
from lipaudit.ops.arithmetic import Affine, Limit, Sum
from lipaudit.ops.concat import Concat
from lipaudit.ops.conv import Convolution
from lipaudit.ops.linear import Linear
from lipaudit.spectral.maps import Conv, Dense

__all__ = ["Hidden", "Map", "Term", "Value", "Wiring", "map_of", "wiring"]

LARGEST = 30_000_000
"""Entries of a map, groups written out, up to which regions are looked at."""
SMALLEST_FACTOR = 2.0**-300
"""Running products of factors stay above this and below its reciprocal, or are 0 because a factor is."""
TINY = 2.0**-500
"""So do stored weights, and their products with factors, with this: no step on the way is subnormal, and
each rounds relatively."""


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """K_t and o_t: `taps` (T, c_out, c_in) float64, `offsets` (T, D) int64; D = 0 for matrices.

    `linear` is the same map as the spectral methods know it, its groups not written out.
    """

    taps: Tensor
    offsets: Tensor
    linear: Conv | Dense

    @property
    def stride(self) -> tuple[int, ...]:
        """Cells between two outputs (or, writing, inputs)."""
        return self.linear.stride if isinstance(self.linear, Conv) else ()

    @property
    def writes(self) -> bool:
        """Whether it is a transposed convolution."""
        return isinstance(self.linear, Conv) and self.linear.transposed

    @property
    def circular(self) -> bool:
        """Whether cells outside the image are those of the other side."""
        return isinstance(self.linear, Conv) and self.linear.padding_mode == "circular"

    def with_taps(self, taps: Tensor) -> Conv | Dense:
        """The map of this geometry with other taps (T, rows, columns), any number of rows and columns."""
        conv = self.linear
        if isinstance(conv, Dense):
            return Dense(taps[0])
        weight = (taps.transpose(1, 2) if conv.transposed else taps).permute(1, 2, 0)
        return conv.in_one_group(weight.reshape(*weight.shape[:2], *conv.kernel))

    def is_adjoint_of(self, other: Map) -> bool:
        """Whether this map has the geometry of the other one's transpose (entries are not compared)."""
        if self.circular != other.circular or self.offsets.shape != other.offsets.shape:
            return False
        plain = all(s == 1 for s in (*self.stride, *other.stride))
        # Reading at y + o is writing at y − o.
        if self.writes == other.writes:
            return plain and bool((self.offsets.flip(0) == -other.offsets).all())
        return self.stride == other.stride and bool((self.offsets == other.offsets).all())

    def laid_out_as(self, other: Map, taps: Tensor) -> Tensor:
        """Taps of this geometry (the other's transpose) as the other one would hold their transpose."""
        taps = taps.transpose(1, 2)
        return taps.flip(0) if self.writes == other.writes else taps


def _is_power_of_two(values: Tensor) -> bool:
    """Whether multiplying by any of them rounds nothing: 0, or ±2ᵏ."""
    return bool(((values == 0) | (torch.frexp(values).mantissa.abs() == 0.5)).all())


def _within(values: Tensor, least: float, zeros: Tensor) -> bool:
    """Whether entries lie between `least` and its reciprocal in size, but for zeros where they may be."""
    sizes = values.abs()
    return bool((zeros | ((sizes >= least) & (sizes <= 1 / least))).all())


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """left ∘ map(right ∘ atom), or left ∘ atom without a map; factors (channels,) or one for all."""

    atom: int
    left: Tensor
    map: Map | None = None
    right: Tensor | None = None
    ulps: int = 0

    @property
    def is_diagonal(self) -> bool:
        """Whether it only scales channels."""
        return self.map is None

    def scaled(self, scale: Tensor, ulps: int) -> Term:
        """scale ∘ term."""
        if bool((scale == 1).all()):
            return replace(self, ulps=self.ulps + ulps)
        left = scale * self.left
        if not _within(left, SMALLEST_FACTOR, (scale == 0) | (self.left == 0)):
            raise _Foreign
        exact = bool((self.left == 1).all()) or _is_power_of_two(scale)
        return replace(self, left=left, ulps=self.ulps + ulps + (not exact))

    @property
    def roundings(self) -> int:
        """Of an entry of `matrices`: those behind the factors, and a product for each that may round."""
        left = self.map is not None and not _is_power_of_two(self.left)
        right = self.right is not None and not _is_power_of_two(self.right)
        return self.ulps + left + right

    @property
    def is_tame(self) -> bool:
        """Whether weights and their products with factors neither under- nor overflow, and no factor is 0."""
        if self.map is None:
            return _within(self.left, TINY, self.left == 0)
        none = self.map.taps == 0
        return _within(self.map.taps, TINY, none) and _within(self.matrices(), TINY, none)

    def matrices(self) -> Tensor:
        """(T, c_out, c_in): the taps with their factors."""
        if self.map is None:
            return torch.diag(self.left)[None]
        taps = self.map.taps * self.left[:, None]
        return taps if self.right is None else taps * self.right

    def offsets(self, axes: int) -> Tensor:
        """(T, D)."""
        return torch.zeros(1, axes, dtype=torch.int64) if self.map is None else self.map.offsets


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A sum of terms, of a shape."""

    terms: tuple[Term, ...]
    shape: Shape

    @property
    def is_diagonal(self) -> bool:
        """Whether every term only scales channels."""
        return all(term.is_diagonal for term in self.terms)


@dataclass(frozen=True, slots=True, eq=False)
class Hidden:
    """z = φ(u); `linear` where φ is the identity."""

    name: str
    pre: Value
    linear: bool


@dataclass(slots=True, eq=False)
class Wiring:
    """Atom 0 is the source, atom i the i-th hidden unit.

    `axes` is the number of image axes; matrices act on the last axis of a tensor and have none.
    """

    axes: int
    shape: Shape
    hidden: list[Hidden] = field(default_factory=list)
    output: Value | None = None

    def channels(self, shape: Shape) -> int:
        """How many channels a value of that shape has."""
        return shape[1] if self.axes else shape[-1]

    def image(self, shape: Shape) -> tuple[int, ...]:
        """Its extent per axis."""
        return shape[2:] if self.axes else ()

    def shape_of(self, atom: int) -> Shape:
        """Shape of an atom."""
        return self.shape if atom == 0 else self.hidden[atom - 1].pre.shape

    def fresh(self, name: str, pre: Value, *, linear: bool) -> Value:
        """A new hidden unit, as a value."""
        self.hidden.append(Hidden(name, pre, linear))
        ones = torch.ones(self.channels(pre.shape), dtype=torch.float64)
        return Value((Term(len(self.hidden), ones.to(_device(pre))),), pre.shape)


class _Foreign(Exception):
    """The region holds something that has no place in this form."""


def wiring(graph: LayerGraph, part: Region) -> Wiring | None:
    """The normal form of a region; None if it has none."""
    maps = [node for node in part.nodes if isinstance(node.op, Linear | Convolution)]
    if not maps:
        return None
    axes = {len(n.op.map.image) if isinstance(n.op, Convolution) else 0 for n in maps}
    shape = graph.shape_of(part.source)
    if len(axes) > 1:
        return None
    found = Wiring(axes.pop(), shape)
    if found.axes and (len(shape) != found.axes + 2 or shape[0] != 1):
        return None
    device = graph.device
    values = {
        part.source: Value(
            (Term(0, torch.ones(found.channels(shape), dtype=torch.float64, device=device)),), shape
        )
    }
    try:
        for node in part.nodes:
            step = _STEPS.get(type(node.op))
            if step is None:
                return None
            values[node.name] = step(found, node, [values[name] for name in node.inputs])
    except _Foreign:
        return None
    found.output = values[part.end.name]
    return found


def _device(value: Value) -> torch.device:
    return value.terms[0].left.device


def _through(found: Wiring, node: Node, values: Sequence[Value], linear_map: Map) -> Value:
    """A linear map of a value: of its diagonal terms one by one, else of a unit of its own."""
    (value,) = values
    if not value.is_diagonal:
        value = found.fresh(f"{node.name} (linear)", value, linear=True)
    ones = torch.ones(linear_map.taps.shape[1], dtype=torch.float64, device=linear_map.taps.device)
    terms = tuple(
        Term(t.atom, ones, linear_map, None if bool((t.left == 1).all()) else t.left, t.ulps)
        for t in value.terms
    )
    return Value(terms, node.shape)


def _linear(found: Wiring, node: Node, values: Sequence[Value]) -> Value:
    op = node.op
    if not isinstance(op, Linear | Convolution) or (isinstance(op, Linear) and found.axes):
        raise _Foreign
    linear_map = map_of(op)
    if linear_map is None:
        raise _Foreign
    value = _through(found, node, values, linear_map)
    return Value(tuple(replace(t, ulps=t.ulps + op.ulps) for t in value.terms), node.shape)


def map_of(op: Linear | Convolution) -> Map | None:
    """The map by its taps, groups written out; None for padding that mirrors or wraps unevenly."""
    if isinstance(op, Linear):
        return Map(op.weight[None], torch.zeros(1, 0, dtype=torch.int64), Dense(op.weight))
    conv = op.map
    groups, rows, columns = conv.groups, conv.weight.shape[0], conv.weight.shape[1]
    count = math.prod(conv.kernel)
    is_circular = conv.padding_mode == "circular"
    if conv.padding_mode not in ("zeros", "circular") or count * rows * columns * groups > LARGEST:
        return None
    if is_circular and any(
        n != m * s for n, m, s in zip(conv.image, conv.out_image, conv.stride, strict=True)
    ):
        return None
    per_group = conv.weight.reshape(groups, rows // groups, columns, count).permute(3, 0, 1, 2)
    taps = per_group.new_zeros(count, groups, rows // groups, groups, columns)
    for g in range(groups):
        taps[:, g, :, g] = per_group[:, g]
    taps = taps.reshape(count, rows, groups * columns)
    offsets = [
        [d * t - left for t, d, (left, _) in zip(tap, conv.dilation, conv.padding, strict=True)]
        for tap in itertools.product(*(range(k) for k in conv.kernel))
    ]
    return Map(
        taps.transpose(1, 2) if conv.transposed else taps,
        torch.tensor(offsets).reshape(count, -1),
        conv,
    )


def _affine(found: Wiring, node: Node, values: Sequence[Value]) -> Value:
    op, (value,) = node.op, values
    if not isinstance(op, Affine) or node.shape != value.shape:
        raise _Foreign
    scale = _per_channel(found, op.scale, value.shape)
    return Value(tuple(term.scaled(scale, op.ulps) for term in value.terms), value.shape)


def _per_channel(found: Wiring, scale: Tensor, shape: Shape) -> Tensor:
    """One factor per channel."""
    channels = found.channels(shape)
    if scale.numel() == 1:
        return scale.reshape(1).expand(channels)
    full = scale.reshape(*[1] * (len(shape) - scale.dim()), *scale.shape)
    axis = 1 if found.axes else len(shape) - 1
    if full.numel() != channels or full.shape[axis] != channels:
        raise _Foreign
    return full.reshape(channels)


def _sum(found: Wiring, node: Node, values: Sequence[Value]) -> Value:
    del found
    op = node.op
    if not isinstance(op, Sum) or any(value.shape != node.shape for value in values):
        raise _Foreign
    terms: list[Term] = []
    for value, factor in zip(values, op.factors, strict=True):
        scale = torch.full((1,), factor, dtype=torch.float64, device=_device(value))
        terms += [term.scaled(scale, 0) for term in value.terms]
    return Value(tuple(terms), node.shape)


def _activation(found: Wiring, node: Node, values: Sequence[Value]) -> Value:
    op, (value,) = node.op, values
    fits = isinstance(op, Limit) or (isinstance(op, Elementwise) and op.monotone01)
    if not fits or node.shape != value.shape:
        raise _Foreign
    if isinstance(op, Elementwise) and SMALLEST_FACTOR <= op.slope < 1:
        # Slopes of φ in [0, g]: φ(u) = ψ(g·u) and those of ψ lie in [0, 1].
        scale = torch.full((1,), op.slope, dtype=torch.float64, device=_device(value))
        value = Value(tuple(term.scaled(scale, 0) for term in value.terms), value.shape)
    return found.fresh(node.name, value, linear=False)


def _concat(found: Wiring, node: Node, values: Sequence[Value]) -> Value:
    """Channels side by side: each part through a selection matrix, which is a diagonal with shifted rows."""
    op = node.op
    axis = 1 if found.axes else len(node.shape) - 1
    if not isinstance(op, Concat) or op.stack or op.dim % len(node.shape) != axis or None not in op.parts:
        raise _Foreign
    terms, start, live = [], 0, iter(values)
    for part in op.parts:
        width = part.shape[axis] if part is not None else 0
        if part is None:
            value = next(live)
            width = found.channels(value.shape)
            whole = value if value.is_diagonal else found.fresh(f"{node.name} (part)", value, linear=True)
            rows = torch.zeros(found.channels(node.shape), width, dtype=torch.float64, device=_device(whole))
            rows[start : start + width] = torch.eye(width, dtype=torch.float64)
            select = _pointwise(rows, found.image(node.shape))
            ones = torch.ones(len(rows), dtype=torch.float64, device=rows.device)
            terms += [Term(t.atom, ones, select, t.left, t.ulps) for t in whole.terms]
        start += width
    return Value(tuple(terms), node.shape)


def _pointwise(matrix: Tensor, image: tuple[int, ...]) -> Map:
    """The same matrix at every cell."""
    linear = Conv(matrix.reshape(*matrix.shape, *[1] * len(image)), image) if image else Dense(matrix)
    return Map(matrix[None], torch.zeros(1, len(image), dtype=torch.int64), linear)


_STEPS: dict[type, Callable[[Wiring, Node, Sequence[Value]], Value]] = {
    Linear: _linear,
    Convolution: _linear,
    Affine: _affine,
    Sum: _sum,
    Elementwise: _activation,
    Limit: _activation,
    Concat: _concat,
}
