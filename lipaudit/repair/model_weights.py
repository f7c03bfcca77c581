"""The tensors of a model file by name, and the file with others in their place.

ONNX: stored values and the constants of the graph; all else of the file (nodes, names, metadata) stays as it
is, external data move inside.  Weights: the tensors that the loader sees, under their names, of their types,
with the metadata of a safetensors file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import save
from torch import Tensor

from lipaudit.errors import InputRefused, UsageError
from lipaudit.load.external import embed
from lipaudit.load.isolated import read_apart
from lipaudit.load.preprocessing import METADATA_KEY
from lipaudit.load.reading import Request
from lipaudit.load.sniff import Kind, read_bytes
from lipaudit.load.tensors import weights_of
from lipaudit.repair.readers import several_in_graph

__all__ = ["ModelWeights", "float_tensors", "onnx_with", "read_weights", "safetensors_with"]

_NUMPY = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class ModelWeights:
    """What a model file stores.

    Args:
        kind: of the file.
        tensors: by name; of an ONNX file the floating ones.
        shared: names that an ONNX graph reads more than once.
        metadata: of a safetensors file; of an ONNX file its preprocessing.
        graph: the ONNX file, external data inside.
    """

    kind: Kind
    tensors: Mapping[str, Tensor]
    shared: frozenset[str]
    metadata: Mapping[str, str]
    graph: onnx.ModelProto | None = None


def read_weights(path: Path, request: Request) -> ModelWeights:
    """The stored tensors of a file that `load_model` has accepted.

    Raises:
        UsageError: a torch.export program, whose weights cannot be replaced.
        LipauditError: as `load_model`.
    """
    data = read_bytes(path)
    reading = read_apart(data, request)
    if reading.kind is Kind.EXPORTED:
        raise UsageError(
            f"{path.name} is a torch.export program: its weights are not replaced",
            hint="give the ONNX file, or the weights with --arch",
        )
    if reading.kind is not Kind.ONNX:
        state, _ = weights_of(reading, data, path.name)
        header: Mapping[str, str] = {}
        if reading.kind is Kind.SAFETENSORS:
            entries = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            header = entries.get("__metadata__") or {}
        return ModelWeights(reading.kind, state, frozenset(), header)
    model = onnx.ModelProto.FromString(data)
    embed(model, path.parent)
    told = {entry.key: entry.value for entry in model.metadata_props if entry.key == METADATA_KEY}
    return ModelWeights(reading.kind, float_tensors(model), several_in_graph(model), told, model)


def float_tensors(model: onnx.ModelProto) -> dict[str, Tensor]:
    """Stored values and constants of an ONNX graph that are float16, float32 or float64."""
    arrays = {name: numpy_helper.to_array(proto) for name, proto in _protos(model).items()}
    return {name: torch.from_numpy(a.copy()) for name, a in arrays.items() if a.dtype in _NUMPY}


def _protos(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Stored values and those of Constant nodes, by the name under which they are read."""
    found = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                found[node.output[0]] = attribute.t
    return found


def onnx_with(weights: ModelWeights, changed: Mapping[str, Tensor]) -> bytes:
    """The ONNX file with these tensors in the place of those of their names."""
    assert weights.graph is not None  # noqa: S101 - of an ONNX file
    model = onnx.ModelProto()
    model.CopyFrom(weights.graph)
    protos = _protos(model)
    for name, tensor in changed.items():
        told = protos[name].doc_string
        proto = numpy_helper.from_array(tensor.cpu().numpy(), protos[name].name)
        proto.doc_string = told
        protos[name].CopyFrom(proto)
    return bytes(model.SerializeToString())


def safetensors_with(weights: ModelWeights, changed: Mapping[str, Tensor]) -> bytes:
    """All tensors as safetensors, with these in the place of those of their names.

    Raises:
        InputRefused: the format does not know a tensor's type.
    """
    tensors = {
        name: changed.get(name, tensor).cpu().contiguous().clone() for name, tensor in weights.tensors.items()
    }
    double = next((name for name, tensor in tensors.items() if tensor.dtype == torch.complex128), None)
    if double is not None:
        raise InputRefused(
            f"tensor {double!r} is complex128, which safetensors do not hold", hint="write ONNX"
        )
    return bytes(save(tensors, metadata=dict(weights.metadata) or None))
