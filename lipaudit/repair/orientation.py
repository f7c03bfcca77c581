"""Whether a layer reads its stored matrix or the transpose, where the numbers do not tell.

A symmetric matrix, or one of equal numbers, is its own transpose when read in order.  What the program does
with it is asked of the program: other numbers stand in for the matrix, and the layer is looked at again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from lipaudit.load.sniff import Kind
from lipaudit.load.translate import translate
from lipaudit.repair.model_weights import onnx_with, safetensors_with
from lipaudit.repair.opened import Opened, loaded_as
from lipaudit.repair.stored import LeftAlone, StoredLayer, linear_map_of

__all__ = ["oriented"]


def oriented(
    opened: Opened, found: Sequence[StoredLayer], left: Sequence[LeftAlone]
) -> tuple[list[StoredLayer], list[LeftAlone]]:
    """The layers, each reading its matrix as the program does; where that is not seen, it is left alone."""
    probes = {layer.key: _distinct(layer.stored.cpu()) for layer in found if _is_open(layer.stored)}
    if not probes:
        return list(found), list(left)
    seen = _seen(opened, probes)
    sure, alone = [], list(left)
    for layer in found:
        probe = probes.get(layer.key)
        flipped = layer.flipped if probe is None else _flipped(probe, seen.get(layer.name))
        if flipped is None:
            alone.append(LeftAlone(layer.name, f"whether it reads {layer.key} or the transpose is not seen"))
        else:
            sure.append(replace(layer, flipped=flipped))
    return sure, alone


def _is_open(stored: Tensor) -> bool:
    """Whether a matrix and its transpose hold the same numbers in the same order."""
    return stored.dim() == 2 and min(stored.shape) > 1 and torch.equal(stored.flatten(), stored.T.flatten())


def _distinct(stored: Tensor) -> Tensor:
    """Another matrix of the same shape and type whose transpose is not read the same."""
    return torch.linspace(1, 2, stored.numel()).reshape(stored.shape).to(stored.dtype)


def _flipped(probe: Tensor, weight: Tensor | None) -> bool | None:
    if weight is None or weight.numel() != probe.numel():
        return None
    wide, flat = probe.double(), weight.flatten()
    return next(
        (way for way, seen in ((False, wide), (True, wide.T)) if torch.equal(seen.flatten(), flat)), None
    )


def _seen(opened: Opened, probes: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights by layer, with the probes in the place of what is stored."""
    is_onnx = opened.weights.kind is Kind.ONNX
    data = (onnx_with if is_onnx else safetensors_with)(opened.weights, probes)
    options = opened.options if is_onnx else {**opened.options, "allow_global": (), "trust_pickle": None}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"probe.{'onnx' if is_onnx else 'safetensors'}"
        path.write_bytes(data)
        samples = opened.subject.samples
        loaded = loaded_as(path, options, None if samples is None else samples.sample_shape)
        raw = translate(loaded.program, loaded.titles)
    return {node.name: m.weight.cpu() for node in raw if (m := linear_map_of(node)) is not None}
