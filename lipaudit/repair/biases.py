"""The biases of a clipped model: fitted on unlabelled inputs, or kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lipaudit.errors import UsageError
from lipaudit.load.translate import translate
from lipaudit.passes.peel_softmax import peel_softmax
from lipaudit.repair.bias_fit import fit_biases, sample_count
from lipaudit.repair.opened import Opened
from lipaudit.repair.reach import Changes
from lipaudit.repair.stored_bias import StoredBias

__all__ = ["FIT", "KEEP", "FittedBiases", "check_choice", "fitted_biases"]

FIT, KEEP = "fit", "keep"
SEED = 0
"""Of the noise that stands in for a data set."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedBiases:
    """What was fitted.

    Args:
        tensors: new ones by key, to be stored.
        layers: names of the layers whose bias it is.
        inputs: what they were fitted on, in words; "" where nothing was fitted.
        scale: of the scores beside the old ones; None if the last layer's bias is none of them.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    layers: Collection[str] = ()
    inputs: str = ""
    scale: float | None = None


def check_choice(biases: str) -> None:
    """`FIT` or `KEEP`.

    Raises:
        UsageError: anything else.
    """
    if biases not in {FIT, KEEP}:
        raise UsageError(f"--biases {biases!r} is unknown", hint=f"choose one of {FIT}, {KEEP}")


def fitted_biases(
    opened: Opened, changes: Changes, found: Sequence[StoredBias], idle: Collection[str]
) -> FittedBiases:
    """Biases for the changed layers and those behind them.

    Args:
        opened: the model as it was.
        changes: its new layers.
        found: biases that may be changed.
        idle: layers that nobody asked to change.
    """
    device, subject = opened.subject.graph.device, opened.subject
    graph = peel_softmax(translate(opened.loaded.program, opened.loaded.titles)).to(device)
    count = sample_count(graph)
    samples = opened.samples(count)
    if samples is None:
        shape = (count, *subject.graph.input_shape[1:])
        noise = torch.rand(shape, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64)
        samples, words = noise.to(device), f"{count} inputs of uniform noise"
    else:
        data = subject.samples
        words = f"{len(samples)} samples of {data.name if data else ''}, without their labels"
    inputs = subject.entrance.to(device).run(samples.double()).reshape(-1, *graph.input_shape[1:])
    weights = {name: change.layer.as_weight(change.tensor) for name, change in changes.items()}
    wanted = [
        replace(bias, stored=bias.stored.to(device), gain=bias.gain.to(device))
        for bias in found
        if bias.stretch.name not in idle
    ]
    fits = fit_biases(graph, weights, wanted, inputs)
    met = [bias for bias in wanted if bias.key in fits]
    scale = next((fits[bias.key].scale for bias in met if bias.stretch.end == graph.output), None)
    tensors = {key: fit.tensor for key, fit in fits.items()}
    return FittedBiases(tensors, [bias.stretch.name for bias in met], words if met else "", scale)
