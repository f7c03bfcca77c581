"""The preprocessing as part of the network: threat space → arranged → (scale·x − mean)/std → model.

Certificates are stated for x, so what stands between x and the model's input counts: leaving out std
inflates radii four to five times.  Arranging moves entries (norm 1); the rest is one diagonal map whose
factors are exact fractions rounded once (`ulps = 1`), folded later into the first linear layer.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import torch
from torch import Tensor

from lipaudit.data.threat import place
from lipaudit.errors import InputRefused
from lipaudit.graph.graph import INPUT, LayerGraph
from lipaudit.graph.node import Node, Origin, Shape
from lipaudit.load.preprocessing import Preprocessing
from lipaudit.ops.arithmetic import Affine
from lipaudit.ops.shape import Relayout

__all__ = ["entrance", "prepend"]

SMALLEST, LARGEST = Fraction(2) ** -1022, Fraction(2) ** 1023


def prepend(graph: LayerGraph, preprocessing: Preprocessing, sample: Shape | None, layout: str) -> LayerGraph:
    """The graph from the threat space on.

    Args:
        graph: the model, whose input shape has a leading 1.
        preprocessing: scale, mean and std.
        sample: shape of one sample of the data set, without batch; None to stay in the model's shape.
        layout: how the model arranges it: "chw", "hwc" or "flat" (from `arrange`).

    Raises:
        InputRefused: if mean or std do not fit the number of channels.
    """
    model_shape = graph.input_shape
    nodes: list[Node] = []
    last = INPUT
    if sample is not None and ((1, *sample) != model_shape or layout == "hwc"):
        nodes.append(_arranging(_free_name(graph, "arrange"), sample, model_shape, layout))
        last = nodes[-1].name
    affine = _diagonal(preprocessing, model_shape, sample, layout)
    if affine is not None:
        name = _free_name(graph, "preprocessing")
        nodes.append(Node(name, affine, (last,), model_shape, Origin("preprocessing")))
        last = nodes[-1].name
    rest = [replace(n, inputs=tuple(last if i == INPUT else i for i in n.inputs)) for n in graph.nodes]
    start = model_shape if sample is None else (1, *sample)
    output = last if graph.output == INPUT else graph.output
    return replace(graph, input_shape=start, nodes=(*nodes, *rest), output=output)


def entrance(shape: Shape, preprocessing: Preprocessing, sample: Shape | None, layout: str) -> LayerGraph:
    """From the threat space to the input of a model of that input shape (leading 1), alone."""
    return prepend(LayerGraph(shape, (), INPUT), preprocessing, sample, layout)


def _free_name(graph: LayerGraph, wanted: str) -> str:
    """The model may have a module of that name."""
    name = wanted
    while graph.node(name) is not None:
        name += "'"
    return name


def _arranging(name: str, sample: Shape, model_shape: Shape, layout: str) -> Node:
    def move(x: Tensor) -> Tensor:
        return place(x.reshape(1, *sample), layout, model_shape[1:])

    # Not called a reshape: hwc moves entries also where C = H = W leaves the shape alone.
    op = Relayout("arrange", move, move)
    return Node(name, op, (INPUT,), model_shape, Origin("preprocessing", layout))


def _diagonal(p: Preprocessing, model_shape: Shape, sample: Shape | None, layout: str) -> Affine | None:
    count = max(len(p.mean), len(p.std), 1)
    mean = p.mean * count if len(p.mean) == 1 else p.mean or (Fraction(0),) * count
    std = p.std * count if len(p.std) == 1 else p.std or (Fraction(1),) * count
    scale = [p.scale / s for s in std]
    shift = [-m / s for m, s in zip(mean, std, strict=True)]
    if all(s == 1 for s in scale) and not any(shift):
        return None
    factors, offsets = (
        _spread([_as_double(v) for v in values], model_shape, sample, layout) for values in (scale, shift)
    )
    return Affine(factors, offsets, 1, name="normalize")


def _as_double(value: Fraction) -> float:
    """The nearest double, within one part in 2⁵³."""
    if value and not SMALLEST <= abs(value) <= LARGEST:
        raise InputRefused(
            f"preprocessing: scale/std or mean/std is about 1e{_magnitude(value):+d}, beyond float64",
            hint="check --scale, --mean and --std",
        )
    return float(value)


def _magnitude(value: Fraction) -> int:
    return len(str(abs(value.numerator))) - len(str(value.denominator))


def _spread(values: list[float], model_shape: Shape, sample: Shape | None, layout: str) -> Tensor:
    """One number per channel, where the model's layout has its channels."""
    column = torch.tensor(values, dtype=torch.float64)
    if len(values) == 1:
        return column.reshape(())
    cells = math.prod(model_shape)
    channels = sample[0] if sample is not None and len(sample) == 3 else None
    if layout == "flat" and channels == len(values):
        return column.repeat_interleave(cells // len(values)).reshape(model_shape)
    if layout == "hwc" and channels == len(values) and max(model_shape) == cells:
        return column.repeat(cells // len(values)).reshape(model_shape)
    axis = len(model_shape) - 1 if layout == "hwc" else 1
    if layout == "flat" or len(model_shape) < 3 or model_shape[axis] != len(values):
        raise InputRefused(
            f"preprocessing: {len(values)} numbers of mean or std for an input of shape {model_shape[1:]}",
            hint="give one number, or one per channel",
        )
    shape = [1] * len(model_shape)
    shape[axis] = len(values)
    return column.reshape(shape)
