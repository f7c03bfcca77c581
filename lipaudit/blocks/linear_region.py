"""A small region of linear operations of any kind, as one matrix.

    ‖M‖ ≤ ‖M̂‖ + √(Σ_j ε_j²),      M̂e_j = fl(f(e_j) − f(0)),   ε_j ≥ ‖M̂e_j − Me_j‖

where f(x) = Mx + c is the region.  Proof: ‖M − M̂‖ ≤ ‖M − M̂‖_F. ∎  The error of f at e_j and at 0 comes
from the ops' own promises, carried through the region as in a forward pass with an exact source; the
difference adds u(|f(e_j)| + |f(0)|), entry by entry.

The product of the layers' norms may be far above ‖M‖: averages after convolutions, sums of branches that
share their source, two dense layers without an activation between them.

Stored: the norm and the digest of M̂.

Horn, Johnson (2013), Matrix Analysis, sec. 5.6; Higham (2002), ch. 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from lipaudit.analyze import carried, traced
from lipaudit.blocks.claim import Part, Proved, Rule, Stored, digest, linear_parts
from lipaudit.blocks.region import Region
from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import Gain
from lipaudit.ops.arithmetic import Affine, Sum
from lipaudit.ops.concat import Concat
from lipaudit.ops.contraction import Contraction
from lipaudit.ops.conv import Convolution
from lipaudit.ops.linear import Linear
from lipaudit.ops.pool import AveragePool
from lipaudit.ops.reduction import Average
from lipaudit.ops.resize import Interpolation
from lipaudit.ops.shape import Relayout
from lipaudit.rounding import UNDERFLOW, UNIT, add_up
from lipaudit.spectral.maps import Dense

__all__ = ["LINEAR", "MIXING", "RULE", "evaluated"]

LINEAR = (
    Affine,
    AveragePool,
    Average,
    Concat,
    Contraction,
    Convolution,
    Interpolation,
    Linear,
    Relayout,
    Sum,
)
"""Ops that are a linear map and a constant."""
MIXING = (AveragePool, Average, Contraction, Convolution, Interpolation, Linear, Sum)
"""Of these it takes two before a product of gains loses anything."""
LARGEST = 4096
"""Cells of the source and of the end."""
LARGEST_WORK = 2e8
"""Cells that all values of all columns have together."""
COLUMNS = 64
"""Columns computed at a time."""
WIDEN = 1.001
"""The recursion of errors is itself rounded, by far less."""


def prove(part: Part) -> Proved | None:
    """‖M̂‖ + √Σε²."""
    graph, region = part.graph, part.region
    cells = math.prod(graph.shape_of(region.source))
    work = cells * sum(math.prod(node.shape) for node in region.nodes)
    small = max(cells, math.prod(region.end.shape)) <= LARGEST and work <= LARGEST_WORK
    mixing = sum(isinstance(node.op, MIXING) for node in region.nodes)
    if not small or mixing < 2 or not all(isinstance(node.op, LINEAR) for node in region.nodes):
        return None
    nothing = torch.zeros(1, cells, dtype=torch.float64, device=graph.device)
    zero, unsure = evaluated(graph, region, part.gains, nothing)
    columns, errors = [], []
    for start in range(0, cells, COLUMNS):
        units = torch.eye(cells, dtype=torch.float64, device=graph.device)[start : start + COLUMNS]
        values, made = evaluated(graph, region, part.gains, units)
        columns.append(values - zero)
        lost = 2 * UNIT * torch.linalg.vector_norm(values.abs() + zero.abs(), dim=1)
        errors.append(made + unsure + lost + UNDERFLOW)
    matrix = torch.cat(columns).T.contiguous()
    off = float(torch.linalg.vector_norm(torch.cat(errors))) * WIDEN
    if not math.isfinite(off) or not bool(torch.isfinite(matrix).all()):
        return None
    norm = part.spectral(Dense(matrix)).value
    held = [tensor for node in region.nodes for tensor in linear_parts(node.op)]
    return Proved(add_up(norm, off), {"norm": norm.hex(), "weights_sha256": digest(held)})


def evaluated(
    graph: LayerGraph, region: Region, gains: Mapping[str, Gain], points: Tensor
) -> tuple[Tensor, Tensor]:
    """A region's values (b, cells of its end) and bounds on their errors (b,).

    Args:
        graph: the whole.
        region: the part.
        gains: of its nodes, by name.
        points: (b, cells of its source), float64.
    """

    def evaluate(x: Tensor) -> tuple[Tensor, Tensor]:
        start = x.reshape(graph.shape_of(region.source))
        out, errors = start, {region.source: start.new_zeros(())}
        for node, value, own in traced(graph, region.nodes, region.source, start):
            out = value
            errors[node.name] = carried(gains[node.name], [errors[i] for i in node.inputs]) + own
        return out.flatten(), errors[region.end.name]

    with torch.no_grad(), torch.backends.cudnn.flags(enabled=False):
        found: tuple[Tensor, Tensor] = torch.vmap(evaluate)(points)
    return found


def confirm(part: Part, stored: Mapping[str, Stored]) -> Proved | None:
    """Nothing was chosen."""
    del stored
    return prove(part)


RULE = Rule("linear region", "‖M‖ of a small linear region, evaluated column by column", prove, confirm)
