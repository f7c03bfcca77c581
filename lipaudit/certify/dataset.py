"""Certificates for a whole data set, in fixed chunks so that results do not depend on a batch size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.analyze import Layer
from lipaudit.blocks import Claim
from lipaudit.certify.curvature import Curvature
from lipaudit.certify.forward_error import with_error
from lipaudit.certify.radius import Radii, radii_of, rivals_of
from lipaudit.certify.second_order import bent_radii
from lipaudit.data import Dataset
from lipaudit.errors import Incomplete
from lipaudit.graph.graph import LayerGraph

__all__ = ["Certification", "certify", "chunk_size", "merged"]

CHUNK_CELLS = 4_000_000
"""Entries of the largest activation kept per chunk (32 MB)."""


TRIED = 4
"""Samples that are evaluated both together and one by one."""

_Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True, eq=False)
class Certification:
    """Per sample, shape (n,): index in the data set, label, and its `Radii`.

    `how` tells where the constants of the margins come from, `bent` the curvature that was used besides.
    """

    indices: Tensor
    labels: Tensor
    radii: Radii
    how: str
    bent: Curvature | None = None


def certify(
    graph: LayerGraph,
    layers: Sequence[Layer],
    dataset: Dataset,
    constants: tuple[Tensor, str],
    advance: Callable[[Radii], None] = lambda _: None,
    claims: Sequence[Claim] = (),
    bent: Curvature | None = None,
) -> Certification:
    """Predict and certify every sample.

    Args:
        graph: from the threat space to logits.
        layers: its gains, in graph order.
        dataset: the samples.
        constants: from `pair_constants`.
        advance: called with each finished chunk.
        claims: bounds of parts of the graph.
        bent: the curvature of its margins, where it is known: radii of second order are proved too.

    Raises:
        Incomplete: if the network cannot be evaluated.
    """
    device = graph.device
    chunk = chunk_size(graph)
    parts = []
    total = len(dataset.labels)
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=False):
        try:
            first = dataset.pixels(0, TRIED).to(device).reshape(-1, *graph.input_shape[1:])
            evaluate = _together(with_error(graph, layers, claims), first)
            for start in range(0, total, chunk):
                images = dataset.pixels(start, min(start + chunk, total)).to(device)
                labels = dataset.labels[start : start + len(images)].to(device)
                x = images.reshape(len(images), *graph.input_shape[1:])
                rivals = rivals_of(*evaluate(x), constants[0])
                if bent is None:
                    parts.append(radii_of(rivals, labels))
                else:
                    parts.append(bent_radii(bent, evaluate, x, labels, rivals))
                advance(parts[-1])
        except RuntimeError as failure:
            raise Incomplete(f"the network cannot be evaluated: {str(failure).splitlines()[0]}") from failure
    return merged(dataset, parts, constants[1], bent)


def merged(
    dataset: Dataset, parts: Sequence[Radii], how: str, bent: Curvature | None = None
) -> Certification:
    """Chunks, of which the first begins with the data set's first sample, as one; later samples are left out.

    Args:
        dataset: the samples.
        parts: at least one chunk, in order.
        how: where the constants come from.
        bent: the curvature that was used.
    """
    fields = ("predicted", "margin", "radius", "correct", "finite", "bent", "plain")
    radii = Radii(*(torch.cat([getattr(p, name) for p in parts]).cpu() for name in fields))
    n = len(radii.radius)
    return Certification(dataset.indices[:n], dataset.labels[:n], radii, how, bent)


def chunk_size(graph: LayerGraph) -> int:
    """Samples that run together: fixed by the network alone."""
    widest = max(math.prod(shape) for shape in (graph.input_shape, *(node.shape for node in graph)))
    return max(1, min(250, CHUNK_CELLS // max(1, widest)))


def _together(evaluate: _Evaluate, first: Tensor) -> _Evaluate:
    """From one sample to many at once, if that gives the same on the first few; else one by one."""

    def singly(images: Tensor) -> tuple[Tensor, Tensor]:
        pairs = [evaluate(image.unsqueeze(0)) for image in images]
        return torch.stack([logits for logits, _ in pairs]), torch.stack([error for _, error in pairs])

    lifted: _Evaluate = torch.vmap(lambda x: evaluate(x.unsqueeze(0)))
    alone, unsure = singly(first)
    try:
        logits, error = lifted(first)
    except RuntimeError:  # an operation without a rule for batches
        return singly
    apart = torch.linalg.vector_norm((logits - alone).flatten(1), dim=1)
    same = apart <= error.flatten() + unsure.flatten()
    broken = ~alone.flatten(1).isfinite().all(1) & ~logits.flatten(1).isfinite().all(1)
    return lifted if bool((same | broken).all()) else singly
