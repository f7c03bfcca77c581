"""Whether two layer graphs are the same, to the last bit of every constant.

Both come out of one translation, so the same network gives nodes of the same names.  Two operations are alike
if they are of one class and all that they hold is alike; of functions, the code and what they close over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.fx.node import Node as FxNode

from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import Node

__all__ = ["differing"]


def differing(
    meant: LayerGraph, seen: LayerGraph, slack: Mapping[str, float] | None = None
) -> tuple[str, ...]:
    """Names of the nodes that are not the same in both, in order; of the output, if that is another one.

    Args:
        meant: one graph.
        seen: the other.
        slack: by how much the constants of some nodes may differ, by name.
    """
    names = dict.fromkeys(node.name for node in (*meant, *seen))
    other = [
        name
        for name in names
        if not _same_node(meant.node(name), seen.node(name), (slack or {}).get(name, 0.0))
    ]
    moved = meant.output != seen.output or meant.input_shape != seen.input_shape
    return tuple(dict.fromkeys([*other, meant.output] if moved else other))


def _same_node(one: Node | None, other: Node | None, slack: float) -> bool:
    if one is None or other is None or one.inputs != other.inputs or one.shape != other.shape:
        return False
    return _alike(one.op, other.op, slack)


def _alike(one: Any, other: Any, slack: float) -> bool:  # noqa: ANN401 - an op or a part of one
    """Contents of one kind are held against one another part by part."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        return _same_numbers(one, other, slack)
    parts, others = _parts(one), _parts(other)
    if parts is None or others is None:
        return bool(one == other) or one != one  # noqa: PLR0124 - NaN
    return len(parts) == len(others) and all(_alike(a, b, slack) for a, b in zip(parts, others, strict=True))


def _same_numbers(one: Tensor, other: Tensor, slack: float) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    one, other = one.cpu(), other.cpu()
    return torch.equal(one, other) or bool(
        torch.isclose(one, other, rtol=0.0, atol=slack, equal_nan=True).all()
    )


def _parts(value: Any) -> Sequence[Any] | None:  # noqa: ANN401 - see above
    """What a value consists of; None for one without parts."""
    parts: Sequence[Any] | None = None
    if is_dataclass(value) and not isinstance(value, type):
        parts = [getattr(value, field.name) for field in fields(value)]
    elif isinstance(value, Mapping):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple):
        parts = value
    elif isinstance(value, FxNode):
        parts = [value.name, value.op, str(value.target)]
    elif isinstance(value, partial):
        parts = [value.func, value.args, value.keywords]
    elif isinstance(value, FunctionType):
        held = [cell.cell_contents for cell in value.__closure__ or ()]
        parts = [value.__code__, held, value.__defaults__, value.__kwdefaults__]
    return parts
