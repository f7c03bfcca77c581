"""A checked ONNX graph with a static input → a torch module.

Constants are folded away, each node that is left becomes a module (a rule of ours, else onnx2torch's), and
onnx2torch wires them, under names of ours (`labels` says why).  Every node that cannot be converted is named
in one refusal.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, fx, nn

from lipaudit.errors import InputRefused
from lipaudit.load.blame import first_line
from lipaudit.load.converters import DOMAIN, Tensors, Unconvertible, build, install
from lipaudit.load.fold import Folded, fold
from lipaudit.load.interface import STANDARD, with_input_shape
from lipaudit.load.labels import Titles, check_labels, node_titles
from lipaudit.load.nodes import check_nodes
from lipaudit.load.rules import RULES

__all__ = ["Converted", "convert"]


@dataclass(frozen=True, slots=True, eq=False)
class Converted:
    """A graph as a torch module.

    Attributes:
        network: one module per node.
        nodes: their nodes, in order; names and outputs are the graph's.
        titles: what the report calls the modules, by their names in `network`.
        stored: names of the stored values that the modules' constants are made of.
        notes: for the report.
    """

    network: fx.GraphModule
    nodes: list[onnx.NodeProto]
    titles: Titles
    stored: frozenset[str]
    notes: list[str]


def convert(model: onnx.ModelProto, shape: tuple[int, ...], batch: int, name: str) -> Converted:
    """Convert a graph with one input and one output.

    Args:
        model: left as it is.
        shape: static shape of the input, batch axis included.
        batch: N of the file where `shape` has 1 in its place; else 1.
        name: of the file, for messages.

    Raises:
        InputRefused: nodes without an exact torch counterpart, all of them named.
    """
    static = _static(model, shape, batch)
    folded = fold(static)
    target = static.graph.output[0].name
    nodes = _needed(folded.nodes, target)
    source = static.graph.input[0].name
    if not any(source in node.input for node in nodes):
        raise InputRefused(f"{name}: output {target!r} does not depend on the input", hint="check the export")
    broken = next((key for key in _read(nodes) if _has_nan(folded.constants.get(key))), None)
    if broken is not None:
        raise InputRefused(f"{name}: constant {broken!r} is NaN once computed", hint="check the export")
    opset = max((o.version for o in static.opset_import if o.domain in STANDARD), default=1)
    modules, renamed, taken = _modules(nodes, folded, opset, name)
    graph = _graph(static, renamed, folded, opset)
    network = _wire(graph, modules, name)
    at_full = (folded, 1) if batch == 1 else (fold(_static(model, (batch, *shape[1:]), 1)), batch)
    check_nodes(network, renamed, at_full, static, name)
    notes: list[str] = []
    computed = folded.rounded & set(_read(nodes))
    if computed:
        notes.append(
            f"{len(computed)} constants are computed by the graph from stored ones; "
            "the values onnxruntime computes were taken"
        )
    resized = [node for node in nodes if node.op_type in {"Resize", "Upsample"} and _interpolates(node)]
    if resized:
        notes.append(
            f"the weights with which {len(resized)} Resize nodes interpolate are those of float32 "
            "arithmetic, as runtimes compute them"
        )
    stored = frozenset[str]().union(*(folded.origins.get(key, ()) for key in taken))
    return Converted(network, renamed, _titles(renamed), stored, notes)


def _titles(nodes: list[onnx.NodeProto]) -> Titles:
    """The names onnx2torch gives to modules → what people read."""
    found = {}
    for index, node in enumerate(nodes):
        prefix = f"{DOMAIN}/" if node.domain == DOMAIN else ""
        found[f"{prefix}{_label(index)}"] = node.name
    return found


def _label(index: int) -> str:
    """What a node is called in code, by its place."""
    return f"n{index}"


def _interpolates(node: onnx.NodeProto) -> bool:
    return any(a.name == "mode" and a.s != b"nearest" for a in node.attribute)


def _read(nodes: list[onnx.NodeProto]) -> list[str]:
    return [operand for node in nodes for operand in node.input]


def _has_nan(value: np.ndarray[Any, Any] | None) -> bool:
    return value is not None and value.dtype.kind == "f" and bool(np.isnan(value).any())


def _static(model: onnx.ModelProto, shape: tuple[int, ...], batch: int) -> onnx.ModelProto:
    """A copy with the input's shape fixed, for one sample of a batch, with one output of its last node."""
    static = with_input_shape(model, shape)
    graph = static.graph
    if batch > 1:
        _one_sample(graph, batch)
    target = graph.output[0].name
    if any(target in node.output and len(node.output) > 1 for node in graph.node):
        # onnx2torch would return all outputs of that node.
        graph.node.append(helper.make_node("Identity", [target], [f"{target}/only"], name="output"))
        graph.output[0].name = f"{target}/only"
    return static


def _one_sample(graph: onnx.GraphProto, batch: int) -> None:
    """Reshape targets that start with the batch start with 1 (verified against onnxruntime later)."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    for index, node in enumerate(graph.node):
        target = values.get(node.input[1]) if node.op_type == "Reshape" and len(node.input) > 1 else None
        if target is not None and target.size and target.reshape(-1)[0] == batch:
            changed = target.copy()
            changed.reshape(-1)[0] = 1
            node.input[1] = f"{node.input[1]}/one sample {index}"
            graph.initializer.append(numpy_helper.from_array(changed, node.input[1]))


def _needed(nodes: list[onnx.NodeProto], target: str) -> list[onnx.NodeProto]:
    """The nodes the output depends on, in order."""
    wanted = {target}
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1]


def _modules(
    nodes: list[onnx.NodeProto], folded: Folded, opset: int, name: str
) -> tuple[dict[str, nn.Module], list[onnx.NodeProto], set[str]]:
    """Our modules by their node's label, the nodes for onnx2torch, named as people do, operands that stay."""
    modules: dict[str, nn.Module] = {}
    taken: set[str] = set()
    tensors: Tensors = {}
    renamed, refused = [], []
    used = {operand for node in nodes for operand in node.input}
    titles = node_titles([(node.name, node.op_type) for node in nodes])
    for index, (node, label) in enumerate(zip(nodes, titles, strict=True)):
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = label
        renamed.append(copy)
        try:
            if node.op_type not in RULES:
                _check_foreign(node, opset)
                taken.update(node.input)
                continue
            read_outputs = [output for i, output in enumerate(node.output) if i == 0 or output in used]
            if node.op_type not in {"Split", "TopK"}:
                del copy.output[:]
                copy.output.extend(read_outputs)
            module = build(copy, RULES[node.op_type], folded, opset, tensors)
            modules[_label(index)] = module
            taken.update(module.stored)
            live = [operand for operand in node.input if operand and operand not in folded.constants]
            del copy.input[:], copy.attribute[:]
            copy.input.extend(live)
            copy.domain = DOMAIN
        except Unconvertible as error:
            refused.append(f"{node.op_type} {label!r}: {first_line(error)}")
        except NotImplementedError:
            refused.append(f"{node.op_type} {label!r}: no converter for this operator at opset {opset}")
        except (ValueError, TypeError, IndexError, KeyError, RuntimeError) as error:
            refused.append(f"{node.op_type} {label!r}: {first_line(error)}")
    if refused:
        shown = "; ".join(refused[:10]) + (f"; and {len(refused) - 10} more" if len(refused) > 10 else "")
        raise InputRefused(
            f"{name} cannot be converted: {shown}",
            hint="simplify the graph (onnxsim) or export it with opset 17",
        )
    return modules, renamed, taken


def _check_foreign(node: onnx.NodeProto, opset: int) -> None:
    """Raise NotImplementedError if onnx2torch has no converter either."""
    from onnx2torch.node_converters import get_converter  # noqa: PLC0415 - imports torchvision

    get_converter(operation_type=node.op_type, version=opset, domain="")


def _graph(
    static: onnx.ModelProto, nodes: list[onnx.NodeProto], folded: Folded, opset: int
) -> onnx.ModelProto:
    """The graph onnx2torch wires: our nodes without constants, its own nodes with them.

    What it is told of names becomes code, so nodes are `n0`, `n1`, … and values `v0`, `v1`, ….
    """
    ends = {value.name for value in (*static.graph.input, *static.graph.output)}
    names = _Numbered()
    graph = onnx.GraphProto(name="network")
    graph.input.extend(names.renamed(value) for value in static.graph.input)
    for index, node in enumerate(nodes):
        copy = names.rewired(node)
        copy.name = _label(index)
        graph.node.append(copy)
    target = static.graph.output[0]
    graph.output.append(names.renamed(folded.info.get(target.name, target)))
    foreign = {operand for node in nodes if node.domain != DOMAIN for operand in node.input}
    graph.initializer.extend(
        numpy_helper.from_array(folded.constants[operand], names.of(operand))
        for operand in sorted(foreign)
        if operand in folded.constants
    )
    graph.value_info.extend(names.renamed(info) for key, info in folded.info.items() if key not in ends)
    wired = onnx.ModelProto(ir_version=max(static.ir_version, 4), graph=graph)
    wired.opset_import.extend([helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)])
    return wired


class _Numbered:
    """Values by number, in place of their names."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {"": ""}

    def of(self, name: str) -> str:
        """The same for the same name; "" is a value that is left out."""
        return self._known.setdefault(name, f"v{len(self._known)}")

    def renamed(self, value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
        """A copy of a value's description."""
        copy = onnx.ValueInfoProto()
        copy.CopyFrom(value)
        copy.name = self.of(value.name)
        return copy

    def rewired(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """A copy of a node that reads and writes them, in a domain that is not the file's text either."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        del copy.input[:], copy.output[:]
        copy.input.extend(map(self.of, node.input))
        copy.output.extend(map(self.of, node.output))
        copy.domain = DOMAIN if node.domain == DOMAIN else ""
        return copy


def _wire(graph: onnx.ModelProto, modules: dict[str, nn.Module], name: str) -> fx.GraphModule:
    from onnx2torch import convert as wire  # noqa: PLC0415 - imports torchvision

    check_labels((node.name for node in graph.graph.node), name)
    install(modules, {node.op_type for node in graph.graph.node if node.domain == DOMAIN})
    try:
        network: fx.GraphModule = wire(graph)
    except Exception as error:  # noqa: BLE001 - onnx2torch raises many kinds
        raise InputRefused(
            f"{name} cannot be converted: {first_line(error)}", hint="export it with another opset"
        ) from None
    _tie(network)
    network.eval()
    return network


def _tie(network: nn.Module) -> None:
    """Let the copies that onnx2torch makes of a constant, one for each node that reads it, share memory."""
    known: dict[tuple[torch.Size, torch.dtype, bytes], Tensor] = {}
    for module in network.modules():
        for name, value in module.named_buffers(recurse=False):
            if name.startswith("onnx_initializer"):
                digest = hashlib.sha256(value.numpy().tobytes()).digest()
                setattr(module, name, known.setdefault((value.shape, value.dtype, digest), value))
