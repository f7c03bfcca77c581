"""The stored numbers that a program reads.

Floating-point (or complex) entries of parameters, buffers and constants that some call takes, shared ones
once.  Counters and index tables are no parameters; the running statistics of a batch norm are read, so they
count.  A number without axes does not: exporters store the literals of the code (1/2, a threshold) like that.
Of an ONNX file its own stored values are counted: the conversion adds constants, and unties what it moves.
A parametrisation was replaced by the weight that it computes, so this is what is deployed, not what
was trained.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lipaudit.load import LoadedModel

__all__ = ["count_parameters", "count_read", "read_tensors"]


def count_parameters(loaded: LoadedModel) -> int:
    """How many there are, the same in every format."""
    return count_read(loaded.program) if loaded.parameters is None else loaded.parameters


def count_read(program: torch.export.ExportedProgram) -> int:
    """Those that a program reads."""
    views = {
        (t.untyped_storage().data_ptr(), t.storage_offset(), tuple(t.shape)): t.numel()
        for t in read_tensors(program)
        if t.dim() and (t.is_floating_point() or t.is_complex())
    }
    return sum(views.values())


def read_tensors(program: torch.export.ExportedProgram) -> tuple[Tensor, ...]:
    """Every stored tensor that some call takes."""
    signature = program.graph_signature
    places = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    used = [
        places[n.name] for n in program.graph.nodes if n.op == "placeholder" and n.users and n.name in places
    ]
    held = {**program.constants, **program.state_dict}
    return tuple(held[place] for place in dict.fromkeys(used))
