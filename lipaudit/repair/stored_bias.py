"""Which stored tensor is the bias of a linear layer.

A layer's *stretch* is the linear map and the diagonal maps behind it that nothing else reads: batch norm, a
constant that is added or multiplied.  Its end is the layer's pre-activation.  Adding δ to a bias inside adds
g∘δ at the end, with g the product of the factors behind it.  Of several biases in a stretch the last one is
taken, so batch norm's β before the bias of its convolution: no factor 0 stands behind it.

A tensor is taken only if it is the only one of the file with these numbers and they are read once: what is
tied, shared or computed stays.  `following` asks the program whether it is that tensor.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.export import ExportedProgram

from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import Node
from lipaudit.ops.arithmetic import Affine
from lipaudit.ops.conv import Convolution
from lipaudit.ops.linear import Linear
from lipaudit.repair.readers import constants_of, content
from lipaudit.repair.stored import TYPES

__all__ = ["StoredBias", "Stretch", "stored_biases", "stretches"]

BATCH_NORM, CLOSE = "batch_norm", 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """A linear layer of a graph and the diagonal maps behind it.

    Args:
        nodes: the linear one first.
    """

    nodes: tuple[Node, ...]

    @property
    def name(self) -> str:
        """The layer's."""
        return self.nodes[0].name

    @property
    def end(self) -> str:
        """The node whose value is the pre-activation."""
        return self.nodes[-1].name

    def gain(self, place: int) -> Tensor:
        """g behind node number `place`, broadcastable to the pre-activation."""
        product = torch.ones((), dtype=torch.float64)
        for node in self.nodes[place + 1 :]:
            assert isinstance(node.op, Affine)  # noqa: S101 - of `stretches`
            product = product.to(node.op.scale.device) * node.op.scale
        return product


@dataclass(frozen=True, slots=True, eq=False)
class StoredBias:
    """A bias that is a tensor of its own.

    Args:
        stretch: whose.
        node: of the stretch, which adds it.
        key: of the tensor.
        stored: it.
        shape: as it is broadcast over the layer's output.
        gain: g, from the bias to the pre-activation.
    """

    stretch: Stretch
    node: str
    key: str
    stored: Tensor
    shape: torch.Size
    gain: Tensor


def stretches(graph: LayerGraph) -> list[Stretch]:
    """One for every linear layer of a graph in which nothing was folded."""
    readers = {name: node for node in graph for name in node.inputs}
    found = []
    for node in graph:
        if not isinstance(node.op, Linear | Convolution):
            continue
        nodes = [node]
        while graph.uses(nodes[-1].name) == 1:
            following = readers.get(nodes[-1].name)
            if following is None or not isinstance(following.op, Affine) or following.shape != node.shape:
                break
            nodes.append(following)
        found.append(Stretch(tuple(nodes)))
    return found


def stored_biases(
    graph: LayerGraph, program: ExportedProgram, state: Mapping[str, Tensor], shared: Collection[str]
) -> list[StoredBias]:
    """The biases of a graph's linear layers that the file stores, each read once.

    Args:
        graph: the program, translated; nothing folded.
        program: what the file became.
        state: the file's tensors.
        shared: keys that are read more than once.
    """
    held = constants_of(program)
    keys: dict[str, list[str]] = {}
    for key, tensor in state.items():
        if tensor.dtype in TYPES:
            keys.setdefault(content(tensor), []).append(key)
    betas = _betas(graph, program, held)
    found = []
    for stretch in stretches(graph):
        for place, bias in reversed(list(_added(stretch, betas))):
            names = keys.get(content(bias), [])
            if len(names) == 1 and names[0] not in shared:
                node, stored = stretch.nodes[place].name, state[names[0]].to(graph.device)
                found.append(StoredBias(stretch, node, names[0], stored, bias.shape, stretch.gain(place)))
                break
    return found


def _added(stretch: Stretch, betas: Mapping[str, Tensor]) -> Iterator[tuple[int, Tensor]]:
    """What is added at which node."""
    for place, node in enumerate(stretch.nodes):
        if node.name in betas:
            yield place, betas[node.name]
        elif isinstance(node.op, Affine):
            if bool((node.op.scale == 1).all()) and node.op.shift.numel() > 1:
                yield place, node.op.shift
        elif isinstance(node.op, Linear | Convolution) and node.op.bias is not None:
            yield place, node.op.bias


def _betas(graph: LayerGraph, program: ExportedProgram, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """β of every batch norm, broadcastable to its output.

    A graph tells β − μ·scale and |β| + |μ·scale| only; its nodes stand in the order of the program's calls.
    """
    calls = [n for n in program.graph.nodes if n.op == "call_function" and BATCH_NORM in str(n.target)]
    nodes = [n for n in graph if BATCH_NORM in n.origin.target and isinstance(n.op, Affine)]
    if len(calls) != len(nodes):
        return {}
    found = {}
    for call, node in zip(calls, nodes, strict=True):
        named = call.args[2] if len(call.args) > 2 else call.kwargs.get("bias")
        beta = held.get(getattr(named, "name", ""))
        op = node.op
        if beta is None or not isinstance(op, Affine) or op.shift_size is None:
            continue
        beta = beta.double().to(op.shift.device)
        if beta.numel() != op.shift.numel():
            continue
        beta = beta.reshape(op.shift.shape)
        rest = beta.abs() + (beta - op.shift).abs() - op.shift_size
        if bool((rest.abs() <= CLOSE * op.shift_size).all()):
            found[node.name] = beta
    return found
