"""Certificates for a whole data set, in fixed chunks so that results do not depend on a batch size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.analyze import Layer
from lipaudit.certify.forward_error import with_error
from lipaudit.certify.radius import Radii, certified_radii
from lipaudit.data import Dataset
from lipaudit.errors import Incomplete
from lipaudit.graph.graph import LayerGraph

__all__ = ["Certification", "certify"]

CHUNK_CELLS = 4_000_000
"""Entries of the largest activation kept per chunk (32 MB)."""


@dataclass(frozen=True, slots=True, eq=False)
class Certification:
    """Per sample, shape (n,): index in the data set, label, and its `Radii`."""

    indices: Tensor
    labels: Tensor
    radii: Radii
    how: str


def certify(
    graph: LayerGraph,
    layers: Sequence[Layer],
    dataset: Dataset,
    constants: tuple[Tensor, str],
    advance: Callable[[int], None] = lambda _: None,
) -> Certification:
    """Predict and certify every sample.

    Args:
        graph: from the threat space to logits.
        layers: its gains, in graph order.
        dataset: the samples.
        constants: from `pair_constants`.
        advance: called with the size of each finished chunk.

    Raises:
        Incomplete: if the network cannot be evaluated.
    """
    device = graph.device
    evaluate = with_error(graph, layers)
    lifted = torch.vmap(lambda x: evaluate(x.unsqueeze(0)))
    widest = max(
        [torch.tensor(graph.input_shape).prod().item(), *(torch.tensor(n.shape).prod().item() for n in graph)]
    )
    chunk = int(max(1, min(250, CHUNK_CELLS // max(1, widest))))
    parts = []
    total = len(dataset.labels)
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=False):
        for start in range(0, total, chunk):
            images = dataset.pixels(start, min(start + chunk, total)).to(device)
            labels = dataset.labels[start : start + len(images)].to(device)
            try:
                logits, error = lifted(images.reshape(len(images), *graph.input_shape[1:]))
            except RuntimeError as failure:
                first = str(failure).splitlines()[0]
                raise Incomplete(f"the network cannot be evaluated: {first}") from failure
            parts.append(certified_radii(logits, error, labels, constants[0]))
            advance(len(images))
    fields = ("predicted", "margin", "radius", "correct", "finite")
    merged = Radii(*(torch.cat([getattr(p, name) for p in parts]).cpu() for name in fields))
    return Certification(dataset.indices, dataset.labels, merged, constants[1])
