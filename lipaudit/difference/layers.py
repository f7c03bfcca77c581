"""Where do two layer graphs part?

Both graphs have been simplified, so a batch norm is folded whether the exporter did it or we.  Their nodes
are aligned by operation and size in order (views are skipped: exporters spell them in many ways).  Each pair
is then held against one another *as functions of their own inputs*, on random tensors at two scales, and
entry by entry in what they store.  So a layer is found although nothing that the network was fed reaches it,
and the first layer that differs is named, not the many behind it whose values differ, too.

Where one graph arranges its numbers in another order (channels last, permuted features), the weights of a
layer are a rearrangement of the other's; that counts as the same if what comes out of both is the same, on
inputs that reach the layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from difflib import SequenceMatcher
from typing import Any

import torch
from torch import Tensor

from lipaudit.difference.functions import Place, compensated, functions_differ, is_view, source
from lipaudit.difference.record import LayerGap
from lipaudit.graph.graph import INPUT, LayerGraph
from lipaudit.graph.node import Node, Op, Shape
from lipaudit.ops.arithmetic import Extremum, Sum

__all__ = ["align", "layer_gaps", "of_other_kinds", "unmatched"]

Values = Mapping[str, Tensor]

_SYMMETRIC = (Sum, Extremum)
_BOOKKEEPING = frozenset(
    {
        "name",
        "blocks",
        "factor",
        "extents",
        "ulps",
        "bias_size",
        "shift_size",
        "absolute",
        "slope",
        "jump",
        "exact",
        "windows",
    }
)


def align(a: LayerGraph, b: LayerGraph) -> list[Place]:
    """Both graphs side by side, in order."""
    ours, theirs = _steps(a), _steps(b)
    matcher = SequenceMatcher(None, [_key(n) for n in ours], [_key(n) for n in theirs], autojunk=False)
    places = []
    for kind, i, i_end, j, j_end in matcher.get_opcodes():
        if kind == "equal":
            twins = zip(ours[i:i_end], theirs[j:j_end], strict=True)
            places += [Place((x,), (y,), paired=True) for x, y in twins]
        elif i_end - i == j_end - j == 1 and _could_be(ours[i], theirs[j]):
            places.append(Place((ours[i],), (theirs[j],), paired=True))
        else:
            places.append(Place(tuple(ours[i:i_end]), tuple(theirs[j:j_end]), paired=False))
    return places


def of_other_kinds(places: list[Place]) -> list[str]:
    """Pairs of layers that bear different names."""
    pairs = [(place.ours[0], place.theirs[0]) for place in places if place.paired]
    named = [
        f"{x.op.name} and {y.op.name}"
        for x, y in pairs
        if x.op.name != y.op.name and not (is_view(x) and is_view(y))
    ]
    return list(dict.fromkeys(named))


def unmatched(places: list[Place]) -> tuple[list[Node], list[Node]]:
    """The nodes that stand alone."""
    alone = [place for place in places if not place.paired]
    return [n for place in alone for n in place.ours], [n for place in alone for n in place.theirs]


def _steps(graph: LayerGraph) -> list[Node]:
    return [node for node in graph if not is_view(node)]


def _key(node: Node) -> tuple[str, int]:
    size = 1
    for n in node.shape:
        size *= n
    return _family(node.op), size


def _could_be(x: Node, y: Node) -> bool:
    """One layer of another kind in the same place: its function tells."""
    return _key(x)[1] == _key(y)[1] and len(x.inputs) == len(y.inputs)


def _family(op: Op) -> str:
    return op.name.removeprefix("aten.").split(".")[0]


def layer_gaps(
    graphs: tuple[LayerGraph, LayerGraph],
    places: list[Place],
    values: tuple[list[Values], list[Values]],
    tolerance: float,
    *,
    structure: bool,
) -> list[LayerGap]:
    """Places that differ, in order.

    Args:
        graphs: both, simplified.
        places: from `align`.
        values: every intermediate value of both, on the same few inputs; empty if they cannot be run.
        tolerance: relative.
        structure: whether a layer without a counterpart counts: exporters spell one function in many ways.
    """
    a, b = graphs
    counterpart = {p.ours[0].name: p.theirs[0].name for p in places if p.paired} | {INPUT: INPUT}
    found, settled = [], 0
    for index, place in enumerate(places):
        if not place.paired:
            found += [_alone(place)] if structure else []
            continue
        x, y = place.ours[0], place.theirs[0]
        what = "" if index < settled else _difference(x, y, graphs, tolerance)
        if what and _is_rearranged(x, y, values, tolerance):
            continue
        if what and (made_up := compensated(graphs, places[index:], tolerance)):
            settled, what = index + made_up, ""
        what = what or _miswired(x, y, graphs, counterpart)
        if what:
            found.append(LayerGap(x.name, y.name, x.op.name, what))
    if a.head != b.head:
        names = tuple(head or "nothing" for head in (a.head, b.head))
        what = f"the first model ends in {names[0]}, the second in {names[1]}"
        found.append(LayerGap(a.head and a.output, b.head and b.output, a.head or b.head, what))
    return found


def _alone(place: Place) -> LayerGap:
    sides = [", ".join(n.op.name for n in side[:6]) or "nothing" for side in (place.ours, place.theirs)]
    first = [side[0].name if side else "" for side in (place.ours, place.theirs)]
    op = (place.ours or place.theirs)[0].op.name
    return LayerGap(first[0], first[1], op, f"here the first model has {sides[0]}, the second {sides[1]}")


def _difference(x: Node, y: Node, graphs: tuple[LayerGraph, LayerGraph], tolerance: float) -> str:
    """How two ops differ; empty if they do not."""
    settings, stored = _facts_differ(x.op, y.op, tolerance)
    shapes = [tuple(g.shape_of(i) for i in node.inputs) for g, node in zip(graphs, (x, y), strict=True)]
    if [_size(s) for s in shapes[0]] != [_size(s) for s in shapes[1]]:
        shown = [", ".join(str(list(s)) for s in inputs) for inputs in shapes]
        return "; ".join(
            [*settings, *stored, f"it takes {shown[0]} in the first and {shown[1]} in the second"]
        )
    told = functions_differ([x.op], [y.op], shapes[0], shapes[1], tolerance)
    kinds = (x.op.name, y.op.name)
    named = [f"{kinds[0]} in the first, {kinds[1]} in the second"] if _key(x) != _key(y) else []
    return "; ".join([*named, *settings, *stored, told] if told else stored)


def _size(shape: Shape) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


def _facts(op: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - an op or a map
    """What an op stores: tensors, numbers, settings; functions are judged by running them."""
    for f in fields(op) if is_dataclass(op) else ():
        value = getattr(op, f.name)
        if f.name in _BOOKKEEPING or callable(value):
            continue
        if isinstance(value, dict):
            yield from ((str(key), inner) for key, inner in value.items())
        elif is_dataclass(value):
            yield from _facts(value)
        elif isinstance(value, tuple) and any(isinstance(part, Tensor) for part in value):
            yield from ((f"{f.name}[{i}]", part) for i, part in enumerate(value))
        else:
            yield f.name, value


def _facts_differ(one: Op, other: Op, tolerance: float) -> tuple[list[str], list[str]]:
    """Differences of settings (only a run tells whether they matter) and of stored tensors."""
    ours, theirs = dict(_facts(one)), dict(_facts(other))
    settings, stored = [], []
    for key in sorted(ours.keys() | theirs.keys()):
        a, b = ours.get(key), theirs.get(key)
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            text = _tensors_differ(a, b, tolerance)
            stored += [f"{key}: {text}"] if text else []
        elif not isinstance(a, Tensor) and not isinstance(b, Tensor) and a != b:
            settings.append(f"{key} is {_plain(a)} in the first and {_plain(b)} in the second")
    return settings, stored


def _plain(value: Any) -> str:  # noqa: ANN401
    return "not set" if value is None else str(value)[:60]


def _tensors_differ(a: Tensor, b: Tensor, tolerance: float) -> str:
    if a.numel() != b.numel() and 1 not in (a.numel(), b.numel()):
        return f"{a.numel()} entries against {b.numel()}"
    a, b = torch.broadcast_tensors(a.flatten().double(), b.flatten().double())
    size = max(float(a.abs().max()), float(b.abs().max())) if a.numel() else 0.0
    apart = (a - b).abs()
    count = int((apart > tolerance * size).sum())
    if not count:
        return ""
    return f"{count} of {a.numel()} entries differ, by up to {float(apart.max()):.3g}"


def _is_rearranged(x: Node, y: Node, values: tuple[list[Values], list[Values]], tolerance: float) -> bool:
    """The same numbers in another order, and the same results on inputs that reach the layer."""
    pairs = [(v, dict(_facts(y.op)).get(key)) for key, v in _facts(x.op) if isinstance(v, Tensor)]
    if not pairs:
        return False
    for a, b in pairs:
        if not isinstance(b, Tensor) or a.numel() != b.numel():
            return False
        if _tensors_differ(a.flatten().sort()[0], b.flatten().sort()[0], tolerance):
            return False
    ours, theirs = ([v[node.name] for v in side] for node, side in zip((x, y), values, strict=True))
    awake = len(ours) > 1 and float((ours[0] - ours[1]).norm()) > 0
    return awake and all(
        not _tensors_differ(a.flatten().sort()[0], b.flatten().sort()[0], tolerance)
        for a, b in zip(ours, theirs, strict=True)
    )


def _miswired(x: Node, y: Node, graphs: tuple[LayerGraph, LayerGraph], counterpart: Mapping[str, str]) -> str:
    """Do they read from each other's counterparts?"""
    left = [counterpart.get(source(graphs[0], name)) for name in x.inputs]
    right = [source(graphs[1], name) for name in y.inputs]
    aligned = set(counterpart.values())
    if isinstance(x.op, _SYMMETRIC):
        left, right = sorted(left, key=str), sorted(right)
    for one, other in zip(left, right, strict=False):
        if one is not None and other in aligned and one != other:
            return f"the second reads {other} where the first reads what corresponds to {one}"
    return ""
