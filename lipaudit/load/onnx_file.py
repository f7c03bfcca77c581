"""An ONNX file's bytes → two canonical graphs.  Runs in the reading process.

    parse ─▶ count what inlining makes ─▶ external data inside ─▶ sizes hold ─▶ what no converter should see
    ─▶ onnx.checker ─▶ functions inlined ─▶ stored values no inputs ─▶ rehearsed (`rehearse`)

The graph that is converted has its functions inlined; the reference that onnxruntime runs has them as the
file does, so that a defect of the inliner shows when the two are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import checker, inliner, numpy_helper

from lipaudit.errors import InputRefused, UsageError
from lipaudit.load.blame import first_line
from lipaudit.load.external import PROTO_LIMIT, embed
from lipaudit.load.graph_limits import check_functions, check_tensors, check_text, nodes_of
from lipaudit.load.interface import STANDARD, ends, static_shape
from lipaudit.load.model_file import ModelFile
from lipaudit.load.opset6 import OLDEST, to_opset_7
from lipaudit.load.reading import Request
from lipaudit.load.rehearse import rehearse

__all__ = ["GraphFile", "count_stored", "read_onnx", "stored_weights"]

_HARMLESS = ("topologically sorted", "Field 'shape' of 'type' is required")
"""Complaints of the checker that do not matter: nodes are sorted and shapes inferred here."""


@dataclass(frozen=True, slots=True, eq=False)
class GraphFile:
    """What an ONNX file holds: the graphs to convert and to run, the data files that were read, notes."""

    graph: bytes
    reference: bytes
    files: tuple[ModelFile, ...]
    notes: tuple[str, ...]


def read_onnx(data: bytes, request: Request, announce: Callable[[int], None]) -> GraphFile:
    """Read, check and rehearse.

    Raises:
        UsageError: the graph leaves its input's shape open.
        InputUnavailable: external data are not there.
        InputRefused: the graph is not acceptable; the message says why.
    """
    name = request.name
    model = onnx.ModelProto.FromString(data)
    del model.training_info[:]  # graphs that nobody runs here; their tensors could point anywhere
    check_text(model)
    check_functions(model)
    extra = embed(model, Path(request.folder), announce)
    if model.ByteSize() > PROTO_LIMIT:
        raise InputRefused(f"{name} with its external data is larger than 2 GiB, which is not supported yet")
    check_tensors(model)
    notes = _keep_output(model, request.logits, name)
    _check(model, name)
    model, upgraded = _upgraded(model, name)
    reference = bytes(model.SerializeToString())
    graph = inliner.inline_local_functions(model) if model.functions else model
    _keep_inputs_only(graph)
    source, _ = ends(graph, name)
    shape = static_shape(graph, source, request.input_shape, request.default_shape)
    rehearse(graph, reference, shape, len(data) + sum(map(len, extra.values())), name)
    files = tuple(ModelFile.of(Path(location).name, content) for location, content in extra.items())
    return GraphFile(bytes(graph.SerializeToString()), reference, files, (*notes, *upgraded))


def _keep_output(model: onnx.ModelProto, logits: str | None, name: str) -> tuple[str, ...]:
    """Drop all outputs but the one the user names.

    Raises:
        UsageError: there is none of that name.
    """
    if logits is None:
        return ()
    outputs = list(model.graph.output)
    chosen = [output for output in outputs if output.name == logits]
    if len(chosen) != 1:
        names = ", ".join(output.name for output in outputs)
        raise UsageError(f"--logits {logits!r}: {name} has no such output", hint=f"it has: {names}")
    del model.graph.output[:]
    model.graph.output.append(chosen[0])
    return (f"of {len(outputs)} outputs, {logits!r} is audited",) if len(outputs) > 1 else ()


def _upgraded(model: onnx.ModelProto, name: str) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """A graph of operators older than onnxruntime runs, in newer ones."""
    opset = max((entry.version for entry in model.opset_import if entry.domain in STANDARD), default=1)
    if opset >= OLDEST:
        return model, ()
    note = (
        f"opset {opset} was written in {OLDEST}, the oldest that onnxruntime runs: nothing compares these two"
    )
    return to_opset_7(model, opset, name), (note,)


def _keep_inputs_only(model: onnx.ModelProto) -> None:
    """Old files list stored values among the inputs."""
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    del model.graph.input[:]
    model.graph.input.extend(inputs)


def _check(model: onnx.ModelProto, name: str) -> None:
    """Refuse what no converter should see."""
    redefined = sorted({function.name for function in model.functions if function.domain in STANDARD})
    if redefined:
        raise InputRefused(
            f"{name} redefines standard operators: {', '.join(redefined[:5])}",
            hint="runtimes do not agree on which definition counts: give the function a domain of its own",
        )
    called = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    foreign = sorted(
        {f"{node.domain}.{node.op_type}" for node in nodes_of(called) if node.domain not in STANDARD}
        - {f"{function.domain}.{function.name}" for function in model.functions}
    )
    if foreign:
        raise InputRefused(
            f"{name} uses operators outside of the ONNX standard: {', '.join(foreign[:5])}",
            hint="only neural networks of standard operators can be analysed (no trees, no custom kernels)",
        )
    if model.graph.sparse_initializer:
        raise InputRefused(f"{name} stores sparse weights, which is not supported", hint="store them dense")
    quantized = sorted(
        {n.op_type for n in model.graph.node if "Quantize" in n.op_type or n.op_type.endswith("Integer")}
        | {n.op_type for n in model.graph.node if n.op_type.startswith("QLinear")}
    )
    if quantized:
        raise InputRefused(
            f"{name} is quantized ({', '.join(quantized[:4])}), and rounding has no Lipschitz constant",
            hint="audit the float model it was made from",
        )
    try:
        checker.check_model(model)
    except (checker.ValidationError, RuntimeError, ValueError) as error:
        if not any(harmless in str(error) for harmless in _HARMLESS):
            raise InputRefused(
                f"{name} is not a valid ONNX graph: {first_line(error)}", hint="export it again"
            ) from None
    limits = _limits(model)
    for tensor_name, value in stored_weights(model).items():
        infinite_limit = tensor_name in limits and not np.isnan(value).any()
        if value.dtype.kind == "f" and not np.isfinite(value).all() and not infinite_limit:
            raise InputRefused(
                f"{name}: tensor {tensor_name!r} holds NaN or infinity",
                hint="the training diverged, or the file is damaged",
            )


def _limits(model: onnx.ModelProto) -> set[str]:
    """Constants that are read as limits of Clip only, where infinity means none."""
    limits = {name for node in model.graph.node if node.op_type == "Clip" for name in node.input[1:3]}
    return limits - {
        name
        for node in model.graph.node
        for index, name in enumerate(node.input)
        if node.op_type != "Clip" or index == 0
    }


def stored_weights(model: onnx.ModelProto) -> dict[str, np.ndarray[Any, Any]]:
    """Initialisers and the values of Constant nodes, by name."""
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                found[node.output[0]] = numpy_helper.to_array(attribute.t)
    return found


def count_stored(values: Iterable[np.ndarray[Any, Any]]) -> int:
    """Floating-point or complex entries; numbers without axes are literals of the code that was exported."""
    return sum(value.size for value in values if value.ndim and value.dtype.kind not in "biu")
