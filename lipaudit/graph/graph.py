"""The layer graph: one input, one output, operations in topological order.

A graph is the function of *one* sample, so tensors have the leading 1 that the model was exported
with.  Batches run through `torch.vmap`: each sample meets exactly the exported operations, also in
graphs that squeeze or move the batch axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lipaudit.graph.node import Node, Shape

__all__ = ["INPUT", "LayerGraph"]

INPUT = "input"
"""The name under which nodes refer to the graph's input."""
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, eq=False)
class LayerGraph:
    """Nodes in topological order; `output` names the node whose value is the network's.

    Args:
        input_shape: shape of one sample as the model takes it, leading 1 included.
        nodes: each refers to earlier ones (or `INPUT`) by name.
        output: a node's name, or `INPUT`.
        notes: what was changed on the way that a reader must know (a peeled softmax, say).
        device: where the constants lie.
        head: name of the operation that was peeled off behind the output, if one was.
    """

    input_shape: Shape
    nodes: tuple[Node, ...]
    output: str
    notes: tuple[str, ...] = ()
    device: torch.device = CPU
    head: str = ""
    _by_name: dict[str, Node] = field(init=False, repr=False)
    _uses: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {node.name: node for node in self.nodes})
        if len(self._by_name) < len(self.nodes) or INPUT in self._by_name:
            msg = "two nodes of a graph have one name"
            raise AssertionError(msg)
        counts = dict.fromkeys([INPUT, *self._by_name], 0)
        for name in (*(name for node in self.nodes for name in node.inputs), self.output):
            counts[name] += 1
        object.__setattr__(self, "_uses", counts)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def node(self, name: str) -> Node | None:
        """The node of that name; None for the input."""
        return self._by_name.get(name)

    def shape_of(self, name: str) -> Shape:
        """Shape of a node's output, or of the input."""
        node = self.node(name)
        return self.input_shape if node is None else node.shape

    def uses(self, name: str) -> int:
        """How often a value is read; being the output counts as one use."""
        return self._uses[name]

    def values(self, x: Tensor) -> dict[str, Tensor]:
        """Every intermediate value for one sample `x` of shape `input_shape`."""
        values = {INPUT: x}
        for node in self.nodes:
            values[node.name] = node.op.forward(*(values[name] for name in node.inputs))
        return values

    def run(self, x: Tensor) -> Tensor:
        """Outputs for a batch: `x` is (batch, *input_shape[1:]), the result (batch, *output shape)."""
        return batched(lambda sample: self.values(sample)[self.output])(x)

    def to(self, device: torch.device | str) -> LayerGraph:
        """The same graph with its constants on `device`; move before passes capture parts of it."""
        target = torch.device(device)
        if target == self.device:
            return self
        moved = tuple(replace(n, op=_moved(n.op, target)) for n in self.nodes)
        return replace(self, nodes=moved, device=target)


def batched(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Lift a function of one sample (leading 1 in, any shape out) to batches, sample by sample."""

    def apply(x: Tensor) -> Tensor:
        result: Tensor = torch.vmap(lambda sample: function(sample.unsqueeze(0)))(x)
        return result

    return apply


def _moved(value: Any, device: torch.device) -> Any:  # noqa: ANN401 - an op or a field of one
    """A copy of an op (or map, or tuple of tensors) with its tensors on `device`."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(_moved(v, device) for v in value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    copied = copy(value)
    for f in fields(value):
        object.__setattr__(copied, f.name, _moved(getattr(value, f.name), device))
    return copied
