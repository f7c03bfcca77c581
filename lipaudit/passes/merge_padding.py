"""A pad that only a convolution reads becomes the convolution's own padding.

Exporters write `padding_mode="circular"` (reflect, replicate) as a pad and a valid convolution.  Apart,
the pad costs √copies; together they are one linear map with its own, smaller norm.  The function is the
same: `spectral.Conv` pads exactly so.
"""

from __future__ import annotations

from dataclasses import replace

from lipaudit.errors import InputRefused
from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import Node
from lipaudit.ops.conv import Convolution
from lipaudit.ops.shape import Relayout
from lipaudit.passes.edit import edited, single_use
from lipaudit.spectral.maps import Conv

__all__ = ["merge_padding"]


def merge_padding(graph: LayerGraph) -> LayerGraph:
    """The same function with pads inside the convolutions that read them."""
    while (merged := _next_merge(graph)) is not None:
        graph = edited(graph, {merged.name: merged})
    return graph


def _next_merge(graph: LayerGraph) -> Node | None:
    """The first convolution that can take a pad in, with the pad."""
    for node in graph:
        pad = graph.node(node.inputs[0]) if node.inputs else None
        if pad is None or not isinstance(node.op, Convolution) or not isinstance(pad.op, Relayout):
            continue
        merged = _merged(node, pad, graph.shape_of(pad.inputs[0]))
        if merged is not None and single_use(graph, pad.name):
            return merged
    return None


def _merged(node: Node, pad: Node, shape: tuple[int, ...]) -> Node | None:
    op, attributes = node.op, getattr(pad.op, "attributes", {})
    if not isinstance(op, Convolution) or attributes.get("mode") not in (
        "zeros", "circular", "reflect", "replicate",
    ):  # fmt: skip
        return None
    conv, widths, axes = op.map, attributes["widths"], len(op.map.image)
    widths = [*widths, *[0] * (2 * axes - len(widths))]
    pairs = [(widths[2 * i], widths[2 * i + 1]) for i in range(axes)][::-1]
    plain = conv.padding_mode == "zeros" and not conv.transposed
    untouched = not any(widths[2 * axes :]) and not any(any(p) for p in conv.padding)
    if not plain or not untouched or (min(map(min, pairs)) < 0 and attributes["mode"] != "zeros"):
        return None
    try:
        merged = Conv(
            conv.weight,
            shape[2:],
            stride=conv.stride,
            padding=pairs,
            dilation=conv.dilation,
            groups=conv.groups,
            padding_mode=attributes["mode"],
        )
    except InputRefused:
        return None
    return replace(node, op=replace(op, map=merged), inputs=pad.inputs)
