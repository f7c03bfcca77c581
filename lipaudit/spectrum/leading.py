"""The largest singular values of a linear part, each proved to lie below the true one.

Where a layer applies the same small matrix in many places that share nothing (a dense layer over positions,
a convolution whose windows do not overlap), its singular values are the matrix' own, as often as there are
places; there the number of *different* values is what is asked for.  Convolutions and dense layers are
searched by their own formulas; all else through what it computes and its derivative, its rounding errors
taken from what each operation promises about itself.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipaudit.blocks.linear_region import evaluated
from lipaudit.errors import InputRefused
from lipaudit.ops.arithmetic import Affine
from lipaudit.ops.conv import Convolution
from lipaudit.ops.linear import Linear
from lipaudit.rounding import UNIT, gamma, mul_up, sqrt_up, sub_down
from lipaudit.spectral.block_lanczos import GUARDS, WIDEST, block_lanczos
from lipaudit.spectral.leading import SMALL, leading_triplets
from lipaudit.spectral.maps import Conv, Dense
from lipaudit.spectrum.parts import LinearPart

__all__ = [
    "SCALING",
    "Leading",
    "Tried",
    "factors",
    "find_leading",
    "not_below",
    "side_by_side",
    "smaller_side",
]

CLOSE, FINER = 1e-6, 10
"""Tolerance at best, and by how much it is smaller for maps that are ten times, and once more, cheaper."""
MULTIPLICATIONS, LEAST_STEPS = 3e11, 40
"""Of a search, about half a minute on one core, and steps that it has anyway."""
BLOCK = 16
"""Vectors and their products that a search holds at least, in units of inputs and outputs."""
SCALING = "its factors"
"""How the values of a diagonal map are found."""
ENTRY = 8
"""Bytes."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What is asked of a search.

    Args:
        top: values per part.
        tolerance: relative error that is good enough for what is dear to apply.
        memory: bytes that a search may take.
        steps: block products at most.
    """

    top: int
    tolerance: float
    memory: int
    steps: int = 400

    def closeness(self, work: float) -> float:
        """The tolerance for a map that takes so many multiplications."""
        cheaper = sum(work <= limit for limit in (SMALL, FINER * SMALL))
        return max(CLOSE, self.tolerance / float(FINER) ** cheaper)


@dataclass(frozen=True, slots=True)
class Leading:
    """What was found.

    Args:
        values: pairs (value below the true one, how often), falling.
        search: how.
        agreement: relative difference up to which they count as equal.
        steps: block products.
        settled: whether the tolerance ended the search.
        missing: why there is nothing.
    """

    values: tuple[tuple[float, int], ...] = ()
    search: str = ""
    agreement: float = CLOSE
    steps: int = 0
    settled: bool = True
    missing: str = ""


def find_leading(part: LinearPart, tried: Tried) -> Leading:
    """The largest singular values of a part."""
    cells = math.prod(part.in_shape), math.prod(part.out_shape)
    if not all(cells):
        return Leading(missing="nothing goes in, or nothing comes out")
    needed = ENTRY * BLOCK * sum(cells)
    if needed > tried.memory:
        return Leading(missing=f"a search takes more than {needed >> 20} MiB: --memory allows less")
    tried = replace(tried, top=min(tried.top, *cells))
    op = part.alone
    places = side_by_side(op, part)
    if places is not None:
        return _repeated(*places, smaller_side(part), _unsure(op), tried)
    if isinstance(op, Affine) and part.in_shape == part.out_shape:
        return _scaling(op, part, tried)
    if isinstance(op, Convolution):
        return _searched(op.map, _unsure(op), tried)
    return _implicit(part, tried)


def not_below(found: Leading, witness: float) -> Leading:
    """With another lower bound of the largest value, which the search may have missed."""
    if not found.values or found.values[0][1] > 1 or found.values[0][0] >= witness:
        return found
    return replace(found, values=((witness, 1), *found.values[1:]))


def side_by_side(op: object, part: LinearPart) -> tuple[tuple[Tensor, ...], int] | None:
    """The matrices of a map that is made of copies of them side by side, and how many copies of each."""
    if isinstance(op, Linear):
        return (op.weight,), math.prod(part.in_shape[:-1])
    if not isinstance(op, Convolution):
        return None
    conv = op.map.base().used()
    apart = all(e <= s for e, s in zip(conv.extent, conv.stride, strict=True))
    whole = not any(any(pair) for pair in conv.padding) and set(conv.dilation) == {1}
    if not (apart and whole):
        return None
    return tuple(conv.weight.reshape(conv.groups, -1, conv.weight[0].numel())), math.prod(conv.out_image)


def smaller_side(part: LinearPart) -> int:
    """How many singular values there are."""
    return min(math.prod(part.in_shape), math.prod(part.out_shape))


def _repeated(matrices: tuple[Tensor, ...], copies: int, total: int, unsure: float, tried: Tried) -> Leading:
    found = [leading_triplets(Dense(m), min(tried.top, *m.shape), tolerance=CLOSE) for m in matrices]
    every = heapq.merge(*(f.values.tolist() for f in found), reverse=True)
    values = [(sub_down(value, unsure), copies) for value, _ in zip(every, range(tried.top), strict=False)]
    rest = total - copies * sum(min(m.shape) for m in matrices)
    if rest and len(values) < tried.top:
        values.append((0.0, rest))  # of what no block reads or reaches
    steps, settled = sum(f.steps for f in found), all(f.settled for f in found)
    return Leading(tuple(values), "block Lanczos on one block", CLOSE, steps, settled)


def _scaling(op: Affine, part: LinearPart, tried: Tried) -> Leading:
    """Of a diagonal map the values are its factors: nothing is searched for."""
    unsure = mul_up(gamma(op.ulps + 1), float(op.scale.abs().max())) if op.ulps else 0.0
    values = tuple((sub_down(value, unsure), count) for value, count in factors(op, part)[: tried.top])
    return Leading(values, SCALING, CLOSE)


def factors(op: Affine, part: LinearPart) -> list[tuple[float, int]]:
    """The absolute values of a diagonal map's factors, falling, and how often each is there."""
    found, counts = op.scale.abs().unique(return_counts=True)
    copies = math.prod(part.in_shape) // op.scale.numel()
    pairs = zip(found.tolist(), counts.tolist(), strict=True)
    return sorted(((value, count * copies) for value, count in pairs), reverse=True)


def _searched(conv: Conv, unsure: float, tried: Tried) -> Leading:
    work = float(conv.weight.numel()) * math.prod(conv.base().out_image)
    tolerance = tried.closeness(work)
    affordable = int(MULTIPLICATIONS / (2 * work * min(tried.top + GUARDS, WIDEST)))
    steps = min(tried.steps, max(LEAST_STEPS, tried.top // 2, affordable))
    found = leading_triplets(conv, tried.top, tolerance=tolerance, steps=steps)
    values = tuple((sub_down(value, unsure), 1) for value in found.values.tolist())
    return Leading(values, "block Lanczos", tolerance, found.steps, found.settled)


def _implicit(part: LinearPart, tried: Tried) -> Leading:
    device, tolerance = part.graph.device, tried.closeness(0)
    try:
        found = block_lanczos(
            part.run, part.in_shape, tried.top, tolerance=tolerance, steps=tried.steps, device=device
        )
    except InputRefused as refused:
        return Leading(missing=refused.message)
    error = _error(part, found.right.flatten(1))
    values = [
        # σ_i is read off the first i images, each of which may be wrong by so much.
        (sub_down(value, mul_up(error, sqrt_up(float(i)))), 1)
        for i, value in enumerate(found.values.tolist(), 1)
    ]
    return Leading(
        tuple(_falling(values)), "block Lanczos by autodiff", tolerance, found.steps, found.settled
    )


def _falling(values: list[tuple[float, int]]) -> Iterator[tuple[float, int]]:
    lowest = math.inf
    for value, count in values:
        lowest = min(lowest, value)
        yield lowest, count


def _error(part: LinearPart, rows: Tensor) -> float:
    """Above ‖fl(f(v) − f(0)) − T v‖ for each of the rows, which are about 1 long."""
    zero = torch.zeros_like(rows[:1])
    values, made = evaluated(part.graph, part.region, part.gains, rows)
    nothing, unsure = evaluated(part.graph, part.region, part.gains, zero)
    lost = 2 * UNIT * torch.linalg.vector_norm(values.abs() + nothing.abs(), dim=1)
    # The errors' recursion is itself rounded, by far less.
    largest = float((made + unsure + lost).max())
    return mul_up(largest, 1.001) if math.isfinite(largest) else math.inf


def _unsure(op: object) -> float:
    """How far folding may have moved a layer's singular values: ‖T_true − T‖, rounded up."""
    if isinstance(op, Linear | Convolution) and op.ulps:
        return mul_up(gamma(op.ulps), op.absolute)
    return 0.0
