"""Whether the program reads a stored tensor as it is thought to, and in that place alone: it is asked.

Equal numbers are a hint only.  A tensor may be read a second time in a computation, another one may hold the
same numbers, a layer may compute its weights and by chance get what is stored, and a symmetric matrix does
not show whether it or its transpose is read.  So other numbers stand in for the tensors, all at once, the
file is loaded again, and every node of the network is looked at: layers and biases must hold the new numbers
to the last bit, and all else must be what it was.  Where something else happens, the tensors are tried in
halves, down to the ones that are to blame.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from lipaudit.errors import LipauditError
from lipaudit.graph.graph import LayerGraph
from lipaudit.load.translate import translate
from lipaudit.repair.meant import strayed
from lipaudit.repair.opened import Opened, loaded_as
from lipaudit.repair.stored import LeftAlone, StoredLayer, linear_map_of
from lipaudit.repair.stored_bias import StoredBias

__all__ = ["followed", "network_of"]

SEED = 0
SMALLEST, LARGEST = 1 / 32, 1 / 8
"""Relative changes: enough for the coarsest type, and no network leaves the range of its numbers."""
BESIDE_ZERO = 1 / 64
"""What stands in for 0, relative to the largest entry."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """What became of the network: names of nodes that strayed, and of layers that read the transpose."""

    strayed: frozenset[str]
    flipped: frozenset[str]


def followed(
    opened: Opened,
    raw: LayerGraph,
    layers: Sequence[StoredLayer],
    biases: Sequence[StoredBias] = (),
) -> tuple[list[StoredLayer], list[StoredBias], list[LeftAlone]]:
    """The layers and biases that read their tensors, as they read them, and nothing else does.

    Args:
        opened: the model.
        raw: its network, nothing folded.
        layers: that may read a tensor of the file.
        biases: the same.

    Returns:
        Those that do, and layers that do not with the reason.
    """
    sure: dict[str, StoredLayer] = {}
    kept: list[StoredBias] = []
    alone: list[LeftAlone] = []
    waiting: list[list[StoredLayer | StoredBias]] = [[*layers, *biases]]
    while waiting:
        group = waiting.pop()
        if not group:
            continue
        some = [one for one in group if isinstance(one, StoredLayer)]
        others = [one for one in group if isinstance(one, StoredBias)]
        trial = _tried(opened, raw, some, others)
        if trial is not None and not trial.strayed:
            sure |= {one.name: replace(one, flipped=one.name in trial.flipped) for one in some}
            kept += others
        elif len(group) == 1:
            alone += [LeftAlone(one.name, _why(one, trial)) for one in some]
        else:
            waiting += _parted(group, trial)
    return [sure[one.name] for one in layers if one.name in sure], [b for b in biases if b in kept], alone


def _parted(
    group: list[StoredLayer | StoredBias], trial: _Trial | None
) -> list[list[StoredLayer | StoredBias]]:
    """Those that hold other numbers one by one and the others together, or halves."""
    own = [one for one in group if trial is not None and _place(one) in trial.strayed]
    if own and len(own) < len(group):
        return [*([one] for one in own), [one for one in group if one not in own]]
    half = len(group) // 2
    return [group[:half], group[half:]]


def _place(one: StoredLayer | StoredBias) -> str:
    return one.name if isinstance(one, StoredLayer) else one.node


def _why(layer: StoredLayer, trial: _Trial | None) -> str:
    if trial is None or layer.name in trial.strayed:
        return f"its weights are computed when the model runs, though they equal {layer.key} as it is now"
    return (
        f"its weights ({layer.key}) are used more than once: {', '.join(sorted(trial.strayed)[:3])} would "
        "change with them"
    )


def _tried(
    opened: Opened, raw: LayerGraph, layers: Sequence[StoredLayer], biases: Sequence[StoredBias]
) -> _Trial | None:
    """What other numbers do to the network; None if it cannot be loaded with them."""
    noise = torch.Generator().manual_seed(SEED)
    stored = {one.key: one.stored for one in layers} | {one.key: one.stored for one in biases}
    probes = {key: _other(tensor.cpu(), noise) for key, tensor in stored.items()}
    try:
        seen = _with(opened, probes)
    except LipauditError:
        return None
    flipped = frozenset(one.name for one in layers if _reads_transpose(one, probes[one.key], seen))
    turned = [replace(one, flipped=one.name in flipped) for one in layers]
    return _Trial(frozenset(strayed(raw, seen, turned, biases, probes)), flipped)


def _other(stored: Tensor, noise: torch.Generator) -> Tensor:
    """Numbers like those of a tensor, of either sign, and the same nowhere."""
    wide = stored.double()
    sign = torch.randint(0, 2, wide.shape, generator=noise) * 2.0 - 1.0
    share = torch.rand(wide.shape, generator=noise, dtype=torch.float64)
    largest = float(wide.abs().max())
    wide = torch.where(wide == 0, BESIDE_ZERO * (largest or 1.0) * (1 + share), wide)
    return (sign * wide * (1 + SMALLEST + (LARGEST - SMALLEST) * share)).to(stored.dtype)


def _reads_transpose(layer: StoredLayer, probe: Tensor, seen: LayerGraph) -> bool:
    node = seen.node(layer.name)
    linear_map = None if node is None else linear_map_of(node)
    if linear_map is None or linear_map.weight.shape != layer.map.weight.shape:
        return layer.flipped
    ways = (replace(layer, flipped=way) for way in (False, True))
    read = (one.flipped for one in ways if torch.equal(one.as_weight(probe), linear_map.weight))
    return next(read, layer.flipped)


def _with(opened: Opened, tensors: Mapping[str, Tensor]) -> LayerGraph:
    """The network with other tensors in its file."""
    with tempfile.TemporaryDirectory() as folder:
        return network_of(opened.rewritten(tensors, folder, "probe"), opened)


def network_of(path: Path, opened: Opened) -> LayerGraph:
    """The network, nothing folded, of a file that `opened` was rewritten to.

    Raises:
        LipauditError: as `load_model`.
    """
    samples = opened.subject.samples
    loaded = loaded_as(path, opened.of_rewritten, None if samples is None else samples.sample_shape)
    return translate(loaded.program, loaded.titles)
