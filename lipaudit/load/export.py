"""A torch module → an exported program of functional ATen operations, and the hash of its weights.

`run_decompositions({})` removes in-place operations and views of views but keeps `conv2d`, `linear`,
`batch_norm` and pools whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lipaudit.errors import InputRefused
from lipaudit.load.blame import first_line
from lipaudit.load.labels import check_module

__all__ = ["export_module", "hash_weights", "single_output"]


def single_output(module: nn.Module, example: Tensor, name: str) -> Tensor:
    """Run the module once on zeros.

    Raises:
        InputRefused: it raises, or its output is not one float tensor.
    """
    hint = "the network must map one tensor to one tensor of scores"
    try:
        with torch.no_grad():
            output = module(example)
    except Exception as error:  # noqa: BLE001 - whatever the model's code raises
        raise InputRefused(
            f"{name} does not run on a sample of shape {list(example.shape[1:])} (as a batch of one): "
            f"{type(error).__name__}: {first_line(error)}",
            hint="check --input-shape and the architecture",
        ) from None
    if isinstance(output, (tuple, list)):
        raise InputRefused(f"{name} returns a {type(output).__name__} of {len(output)} values", hint=hint)
    if isinstance(output, Mapping):
        raise InputRefused(f"{name} returns a dict with keys {', '.join(map(str, output))}", hint=hint)
    if not isinstance(output, Tensor):
        raise InputRefused(f"{name} returns a {type(output).__name__}, not a tensor", hint=hint)
    if not output.is_floating_point():
        raise InputRefused(
            f"{name} returns {str(output.dtype).removeprefix('torch.')} numbers (labels?), not scores",
            hint=hint,
        )
    return output


def export_module(module: nn.Module, example: Tensor, name: str) -> torch.export.ExportedProgram:
    """Export `module` at the shape of `example`.

    Raises:
        UnsafeInput: a name in it would run as code.
        InputRefused: torch.export cannot follow its Python; the reason's first line.
    """
    check_module(module, name)
    try:
        # torch prints the graph it could not follow; the message below says what matters.
        with (
            torch.no_grad(),
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            exported = torch.export.export(module.eval(), (example,))
            program: torch.export.ExportedProgram = exported.run_decompositions({})
    except Exception as error:  # noqa: BLE001 - torch.export raises many kinds
        raise InputRefused(
            f"{name} cannot be exported: {first_line(error)}",
            hint="control flow that depends on the data, or custom C++ operators, cannot be analysed",
        ) from None
    return program


def hash_weights(weights: Mapping[str, np.ndarray[Any, Any] | Tensor]) -> str:
    """SHA-256 over the weights, sorted by name: name, type, shape and little-endian bytes of each."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name]
        if isinstance(value, Tensor):
            kind = str(value.dtype).removeprefix("torch.")
            flat = value.detach().cpu().contiguous().reshape(-1)
            data = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
            shape = tuple(value.shape)
        else:
            kind, data, shape = str(value.dtype), np.ascontiguousarray(value).tobytes(), value.shape
        header = f"{len(name)}:{name}|{kind}|{','.join(map(str, shape))}|{len(data)}|"
        digest.update(header.encode("utf-8", errors="surrogatepass"))
        digest.update(data)
    return digest.hexdigest()
