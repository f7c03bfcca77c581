"""Which stored tensors are read more than once, or computed with: those are not a layer's weights alone.

A *live* step reads the network's input, directly or through others.  What counts is how often a tensor gets
into live steps: once for each that takes it, and as often as their results are read for steps that only hand
on what is constant (`Transpose`, `Cast`, …); assertions that make nothing read nothing.  What goes into any
other computation of constants may come out in several places and in another form, so it counts as read more
than once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import inliner
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx.node import Node as FxNode
from torch.fx.node import map_arg

from lipaudit.repair.stored import TYPES
from lipaudit.spectral.certificate import digest

__all__ = ["constants_of", "content", "several_in_graph", "several_in_program"]

_OF_ONNX = frozenset(("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"))
_OF_ATEN = frozenset(
    (
        *("_to_copy", "_unsafe_view", "alias", "clone", "contiguous", "detach", "flatten", "lift_fresh_copy"),
        *("permute", "reshape", "squeeze", "t", "transpose", "unsqueeze", "view"),
    )
)
_MANY = 2


@dataclass(frozen=True, slots=True)
class _Step:
    """One operation: what it reads and makes, by name, and whether it only hands on what it reads first."""

    reads: tuple[str, ...]
    makes: tuple[str, ...]
    hands_on: bool


def _reads(steps: Sequence[_Step], inputs: set[str], outputs: Sequence[str]) -> Counter[str]:
    """How often live steps read what has a name, up to twice; one round suffices where steps are sorted."""
    live, known = set(inputs), -1
    while len(live) > known:
        known = len(live)
        for step in steps:
            if live.intersection(step.reads):
                live.update(step.makes)
    reads: Counter[str] = Counter()
    while True:
        found = Counter(outputs)
        for step in reversed(steps):
            times = 1
            if not live.intersection(step.reads):
                read = sum(max(found[name], reads[name]) for name in step.makes)
                times = min(read, _MANY) if step.hands_on else _MANY
            for name in step.reads:
                found[name] = min(found[name] + times, _MANY)
        if all(found[name] == reads[name] for name in found):
            return found
        reads = found


def several_in_graph(model: onnx.ModelProto) -> frozenset[str]:
    """Names of an ONNX graph, local functions written out; what a subgraph may read counts as read twice."""
    graph = (inliner.inline_local_functions(model) if model.functions else model).graph
    stored = {tensor.name for tensor in graph.initializer}
    steps = []
    for node in graph.node:
        inner = [name for name in _inner(node) for _ in range(_MANY)]
        steps.append(_Step((*node.input, *inner), tuple(node.output), node.op_type in _OF_ONNX))
    inputs = {value.name for value in graph.input} - stored
    reads = _reads(steps, inputs, [value.name for value in graph.output])
    return frozenset(name for name, count in reads.items() if count > 1)


def _inner(node: onnx.NodeProto) -> Iterator[str]:
    """Names that the subgraphs of a node read."""
    for attribute in node.attribute:
        for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            for step in graph.node:
                yield from step.input
                yield from _inner(step)
            yield from (value.name for value in graph.output)


def several_in_program(program: ExportedProgram, state: Mapping[str, Tensor]) -> frozenset[str]:
    """Keys of tensors whose numbers a program reads more than once, in whatever tensors it holds them."""
    steps: list[_Step] = []
    outputs: tuple[str, ...] = ()
    for node in program.graph.nodes:
        read: list[FxNode] = []
        map_arg((node.args, node.kwargs), read.append)
        names = tuple(source.name for source in read)
        if node.op == "output":
            outputs = names
        elif not _asserts(node):
            steps.append(_Step(names, (node.name,), _operation(node.target) in _OF_ATEN))
    reads = _reads(steps, set(program.graph_signature.user_inputs), outputs)
    held: Counter[str] = Counter()
    for name, tensor in constants_of(program).items():
        held[content(tensor)] += reads[name]
    floating = {key: tensor for key, tensor in state.items() if tensor.dtype in TYPES}
    return frozenset(key for key, tensor in floating.items() if held[content(tensor)] > 1)


def _asserts(node: FxNode) -> bool:
    """Whether it makes nothing of what it looks at; one stands before each cast, about the tensor's type."""
    return _operation(node.target).startswith("_assert_") and not node.users


def _operation(target: object) -> str:
    """The middle of `aten.permute.default`."""
    return str(target).split(".")[1] if "." in str(target) else ""


def constants_of(program: ExportedProgram) -> dict[str, Tensor]:
    """Stored floating tensors of a program, by the name of the placeholder."""
    signature = program.graph_signature
    targets = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    held = {**program.constants, **program.state_dict}
    found = {name: held[target] for name, target in targets.items() if isinstance(held.get(target), Tensor)}
    return {name: tensor.detach() for name, tensor in found.items() if tensor.dtype in TYPES}


def content(tensor: Tensor) -> str:
    """The same for the same numbers in the same order."""
    return digest([tensor.double().flatten().cpu() + 0.0])
