"""What does not depend on the input is computed once; shapes become numbers.

Exporters write `Shape → Gather → Concat → Reshape` where a constant would do.  Three steps repeat until
nothing changes: shapes are inferred, `Shape` and `Size` of a tensor of known shape become constants, and
every node whose operands are all constants is evaluated by onnxruntime, the runtime that would evaluate it
in deployment.  Only proved shapes are used (inference, never a run on an example), so nothing that depends
on the input can be burned in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from lipaudit.errors import InputRefused
from lipaudit.load.blame import first_line

__all__ = ["Folded", "fold", "reference_session", "sort_nodes"]

_RANDOM = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
_MOVES = frozenset(
    {
        *("Cast", "Concat", "Constant", "ConstantOfShape", "Equal", "Expand", "Flatten", "Gather"),
        *("GatherElements", "GatherND", "Identity", "Pad", "Range", "Reshape", "Shape", "Size", "Slice"),
        *("Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where"),
    }
)
"""Operators that move numbers without rounding them."""

_ELEMENT_LIMIT = 1 << 29
_ROUNDS = 50


@dataclass(slots=True, eq=False)
class Folded:
    """A graph without constant parts.

    Args:
        nodes: those that depend on the input, in topological order.
        constants: every constant value, by name.
        info: shapes and types that inference proved, by name.
        rounded: names of the float values that were *computed* (not merely moved) in folding.
        origins: names of the stored values that a constant is made of, by its name.
    """

    nodes: list[onnx.NodeProto]
    constants: dict[str, np.ndarray[Any, Any]]
    info: dict[str, onnx.ValueInfoProto] = field(default_factory=dict)
    rounded: set[str] = field(default_factory=set)
    origins: dict[str, frozenset[str]] = field(default_factory=dict)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The static shape of a value, None if it is not known."""
        if name in self.constants:
            return tuple(self.constants[name].shape)
        if name not in self.info or not self.info[name].type.tensor_type.HasField("shape"):
            return None
        dims = self.info[name].type.tensor_type.shape.dim
        if not all(dim.HasField("dim_value") for dim in dims):
            return None
        return tuple(dim.dim_value for dim in dims)


def reference_session(data: bytes) -> Any:  # noqa: ANN401 - onnxruntime has no types
    """An onnxruntime session on the CPU that computes the graph as written, silently."""
    import onnxruntime  # noqa: PLC0415 - slow to import

    onnxruntime.set_default_logger_severity(4)  # some kernels warn on the process's logger
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    # Without enable_fallback=0 it prints to stdout when it retries.
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"], enable_fallback=0)


def sort_nodes(nodes: Iterable[onnx.NodeProto], known: Iterable[str]) -> list[onnx.NodeProto]:
    """Topological order, stable.

    Raises:
        InputRefused: an operand that nothing produces, or a cycle.
    """
    waiting = list(nodes)
    ready = {"", *known}
    ordered: list[onnx.NodeProto] = []
    while waiting:
        later = []
        for node in waiting:
            if all(name in ready for name in _reads(node)):
                ordered.append(node)
                ready.update(node.output)
            else:
                later.append(node)
        if len(later) == len(waiting):
            first, missing = later[0], next(name for name in _reads(later[0]) if name not in ready)
            raise InputRefused(
                f"node {first.name or first.op_type!r} reads {missing!r}, which nothing before it produces",
                hint="the graph is damaged: export it again",
            )
        waiting = later
    return ordered


def _reads(node: onnx.NodeProto) -> list[str]:
    """Operands of a node, what its subgraphs read from outside included."""
    names = list(node.input)
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            inside = {value.name for value in attribute.g.input} | {t.name for t in attribute.g.initializer}
            for child in attribute.g.node:
                names.extend(name for name in _reads(child) if name and name not in inside)
                inside.update(child.output)
    return names


def fold(model: onnx.ModelProto) -> Folded:
    """Evaluate everything that does not depend on the graph's input.

    Args:
        model: initialisers removed from the inputs, static input shape.

    Raises:
        InputRefused: a constant part that onnxruntime cannot evaluate, or random numbers.
    """
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    inputs = [value.name for value in model.graph.input]
    nodes = sort_nodes(model.graph.node, [*inputs, *constants])
    random = next((node for node in nodes if node.op_type in _RANDOM), None)
    if random is not None:
        raise InputRefused(
            f"node {random.name or random.op_type!r} ({random.op_type}) draws random numbers",
            hint="export the model in eval mode",
        )
    folded = Folded(nodes, constants, origins={name: frozenset([name]) for name in constants})
    for _ in range(_ROUNDS):
        folded.info = _infer(model, folded)
        _name_types(folded)
        if not _shapes_to_constants(folded) + _evaluate(model, folded):
            break
    return folded


def _infer(model: onnx.ModelProto, folded: Folded) -> dict[str, onnx.ValueInfoProto]:
    """One run of ONNX shape inference over what is left."""
    graph = onnx.GraphProto(name="shapes")
    graph.input.extend(model.graph.input)
    graph.output.extend(helper.make_empty_tensor_value_info(value.name) for value in model.graph.output)
    graph.node.extend(folded.nodes)
    used = {name for node in folded.nodes for name in _reads(node)}
    for name, value in folded.constants.items():
        if name not in used:
            continue
        if value.size <= 1024:
            graph.initializer.append(numpy_helper.from_array(value, name))
        else:  # inference needs the shape of a weight, not its numbers
            kind = helper.np_dtype_to_tensor_dtype(value.dtype)
            graph.input.append(helper.make_tensor_value_info(name, kind, value.shape))
    skeleton = onnx.ModelProto(ir_version=max(model.ir_version, 4), graph=graph)
    skeleton.opset_import.extend(model.opset_import)
    try:
        inferred = shape_inference.infer_shapes(skeleton, data_prop=True).graph
    except (RuntimeError, ValueError, shape_inference.InferenceError) as error:
        raise InputRefused(
            f"shapes of the ONNX graph contradict each other: {first_line(error)}", hint="export it again"
        ) from None
    values = [*inferred.input, *inferred.value_info, *inferred.output]
    return {value.name: value for value in values if value.type.HasField("tensor_type")}


def _name_types(folded: Folded) -> None:
    """`CastLike` reads only the type of its second operand: where that is known, it is a `Cast`."""
    for index, node in enumerate(folded.nodes):
        info = folded.info.get(node.input[1]) if node.op_type == "CastLike" and len(node.input) > 1 else None
        if info is not None and not node.domain and info.type.tensor_type.elem_type:
            cast = helper.make_node(
                "Cast", node.input[:1], node.output, node.name, to=info.type.tensor_type.elem_type
            )
            folded.nodes[index] = cast


def _shapes_to_constants(folded: Folded) -> int:
    """Replace `Shape` and `Size` of tensors of known shape."""
    kept, replaced = [], 0
    for node in folded.nodes:
        shape = folded.shape(node.input[0]) if node.op_type in {"Shape", "Size"} and not node.domain else None
        if shape is None:
            kept.append(node)
            continue
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Size":
            value = np.array(int(np.prod(shape)), dtype=np.int64)
        else:
            value = np.array(shape[attributes.get("start", 0) : attributes.get("end")], dtype=np.int64)
        folded.constants[node.output[0]] = value
        replaced += 1
    folded.nodes = kept
    return replaced


def _evaluate(model: onnx.ModelProto, folded: Folded) -> int:
    """Evaluate the nodes whose operands are all constants, in one onnxruntime session."""
    known = {"", *folded.constants}
    constant, live = [], []
    for node in folded.nodes:
        if all(name in known for name in _reads(node)):
            constant.append(node)
            known.update(node.output)
        else:
            live.append(node)
    if not constant:
        return 0
    _check_sizes(constant, folded.constants)
    _trace(constant, folded.origins)
    moved = _moved(constant, folded.constants)
    folded.constants.update(moved)
    wanted = {name for node in live for name in _reads(node)} | {value.name for value in model.graph.output}
    outputs = [name for node in constant for name in node.output if name and name in wanted]
    asked = [name for name in outputs if name not in moved]
    if asked:
        computed = [node for node in constant if node.output[0] not in moved]
        folded.constants.update(_run(model, computed, folded.constants, asked))
    folded.rounded.update(_rounded(constant, folded, outputs))
    folded.nodes = live
    return len(constant)


def _trace(constant: list[onnx.NodeProto], origins: dict[str, frozenset[str]]) -> None:
    """Note of what stored values the outputs are made; a Constant node stores its own."""
    for node in constant:
        made_of = frozenset(node.output) if node.op_type == "Constant" and not node.domain else frozenset()
        made_of = made_of.union(*(origins.get(name, frozenset()) for name in _reads(node)))
        origins.update(dict.fromkeys(node.output, made_of))


def _moved(
    constant: list[onnx.NodeProto], constants: Mapping[str, np.ndarray[Any, Any]]
) -> dict[str, np.ndarray[Any, Any]]:
    """Stored values passed on or transposed, as views, so that weights that were tied stay tied."""
    views: dict[str, np.ndarray[Any, Any]] = {}
    for node in constant:
        if node.op_type not in {"Identity", "Transpose"} or node.domain or len(node.input) != 1:
            continue
        value = views.get(node.input[0], constants.get(node.input[0]))
        if value is None:
            continue
        order = next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
        if node.op_type == "Identity":
            views[node.output[0]] = value
        elif order is None or sorted(order) == list(range(value.ndim)):
            views[node.output[0]] = value.transpose(order)
    return views


def _rounded(constant: list[onnx.NodeProto], folded: Folded, outputs: list[str]) -> set[str]:
    """Which float outputs were computed, not merely moved."""
    computed: set[str] = set(folded.rounded)
    for node in constant:
        if node.op_type not in _MOVES or any(name in computed for name in node.input):
            computed.update(node.output)
    return {name for name in outputs if name in computed and folded.constants[name].dtype.kind == "f"}


def _check_sizes(nodes: list[onnx.NodeProto], constants: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """A few bytes of `ConstantOfShape` can ask for all the memory there is."""
    for node in nodes:
        if node.op_type in {"ConstantOfShape", "Expand", "Tile"} and node.input[-1] in constants:
            shape = constants[node.input[-1]]
            if float(np.prod(shape.astype(np.float64))) > _ELEMENT_LIMIT:
                raise InputRefused(
                    f"node {node.name or node.op_type!r} makes too large a constant: {shape.tolist()}",
                    hint="constants are limited to 2^29 numbers",
                )


def _run(
    model: onnx.ModelProto,
    nodes: list[onnx.NodeProto],
    constants: Mapping[str, np.ndarray[Any, Any]],
    outputs: list[str],
) -> dict[str, np.ndarray[Any, Any]]:
    graph = onnx.GraphProto(name="constants")
    graph.node.extend(nodes)
    read = {name for node in nodes for name in _reads(node)}
    feeds = {name: value for name, value in constants.items() if name in read}
    for name, value in feeds.items():
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        graph.input.append(helper.make_tensor_value_info(name, kind, value.shape))
    graph.output.extend(helper.make_empty_tensor_value_info(name) for name in outputs)
    part = onnx.ModelProto(ir_version=max(model.ir_version, 4), graph=graph)
    part.opset_import.extend(model.opset_import)
    try:
        values = reference_session(part.SerializeToString()).run(outputs, feeds)
    except Exception as error:  # noqa: BLE001 - onnxruntime raises many kinds
        raise InputRefused(
            f"a constant part of the ONNX graph cannot be evaluated: {first_line(error)}",
            hint="simplify the graph (onnxsim) or export it again",
        ) from None
    return dict(zip(outputs, values, strict=True))
