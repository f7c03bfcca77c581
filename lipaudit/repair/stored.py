"""Which stored tensor a layer's weights are, and how they come out of it.

An audit bounds what is left when batch norm, preprocessing and factors are folded into the linear map beside
them: W = F∘S, with S the stored weights and F the factors, constant over a kernel's taps.  W is what is
clipped, so that nothing folded in can undo it; S′ = W′/F is what is stored, where F ≠ 0, in the type it had:
rounding comes before proving.

A tensor may be a layer's if it holds the same numbers to the last bit, perhaps transposed or of another
shape; `following` asks the program whether it is.  Where two hold them, or two layers read one, the numbers
are tied: changing one of them would break what the network is, so such layers are left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import Node
from lipaudit.ops.conv import Convolution
from lipaudit.ops.linear import Linear
from lipaudit.spectral.certificate import digest
from lipaudit.spectral.maps import Conv, Dense, LinearMap

__all__ = ["LeftAlone", "StoredLayer", "linear_map_of", "match", "with_map"]

CLOSE = 1e-12
"""Relative error of F∘S: two roundings per factor that was folded."""
CHAINED = 1e-9
"""The same where factors are taken from one another."""
TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """A linear layer that is not changed, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True, eq=False)
class StoredLayer:
    """A linear layer whose weights were found.

    Args:
        node: of the simplified graph.
        map: W, as it is bounded.
        factors: F, of W's shape; 0 where nothing can be changed.
        key: of the stored tensor.
        stored: it.
        flipped: whether it is the transpose.
    """

    node: Node
    map: LinearMap
    factors: Tensor
    key: str
    stored: Tensor
    flipped: bool

    @property
    def name(self) -> str:
        """The layer's."""
        return self.node.name

    def rounded(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """What is stored for W′, in its type and shape, and the W′ that comes out of it."""
        old = self.as_weight(self.stored)
        free = self.factors != 0
        new = torch.where(free, weight / torch.where(free, self.factors, 1.0), old)
        kept = new.reshape(new.shape[0], -1).T if self.flipped else new
        tensor = kept.reshape(self.stored.shape).to(self.stored.dtype).contiguous()
        return tensor, self.factors * self.as_weight(tensor)

    def as_weight(self, tensor: Tensor) -> Tensor:
        """A stored tensor as the layer has it before anything is folded into it, in float64."""
        shape = self.map.weight.shape
        wide = tensor.double()
        return (wide.reshape(-1, shape[0]).T if self.flipped else wide).reshape(shape)


def linear_map_of(node: Node) -> LinearMap | None:
    """The linear map of a node with weights, else None."""
    if isinstance(node.op, Convolution):
        return node.op.map
    return Dense(node.op.weight) if isinstance(node.op, Linear) else None


def with_map(node: Node, linear_map: LinearMap) -> Node:
    """The node with other weights; its bias stays."""
    if isinstance(node.op, Convolution) and isinstance(linear_map, Conv):
        return replace(node, op=Convolution(linear_map, node.op.bias, node.op.ulps, node.op.bias_size))
    assert isinstance(node.op, Linear)  # noqa: S101 - `linear_map_of` gave the map
    old = node.op
    return replace(node, op=Linear(linear_map.weight, old.bias, old.ulps, old.bias_size, old.name))


def match(
    graph: LayerGraph, raw: LayerGraph, state: Mapping[str, Tensor], shared: Collection[str]
) -> tuple[list[StoredLayer], list[LeftAlone]]:
    """Every linear layer of the simplified graph, with its stored weights or a reason.

    Args:
        graph: simplified.
        raw: the same network before folding, its layers of the same names.
        state: the file's tensors.
        shared: keys that are read more than once.
    """
    found: list[StoredLayer] = []
    left: list[LeftAlone] = []
    digests = [_content(m.weight) for node in raw if (m := linear_map_of(node)) is not None]
    for node in graph:
        linear_map = linear_map_of(node)
        if linear_map is None:
            continue
        before = raw.node(node.name)
        weights = None if before is None else linear_map_of(before)
        if weights is None or weights.weight.shape != linear_map.weight.shape:
            left.append(LeftAlone(node.name, "no operation of the file has these weights: they are computed"))
            continue
        keys = [
            (key, flipped) for key in state if (flipped := _holds(state[key], weights.weight)) is not None
        ]
        why = _refusal(keys, digests.count(_content(weights.weight)), shared)
        groups = weights.groups if isinstance(weights, Conv) else 1
        factors = None if why else _factors(weights.weight, linear_map.weight.cpu(), groups)
        if why or factors is None:
            left.append(LeftAlone(node.name, why or "several tensors make up its weights"))
            continue
        key, flipped = keys[0]
        factors = factors.to(linear_map.weight.device)
        stored = state[key].to(linear_map.weight.device)
        found.append(StoredLayer(node, linear_map, factors, key, stored, bool(flipped)))
    return found, left


def _refusal(keys: list[tuple[str, bool]], layers: int, shared: Collection[str]) -> str:
    if not keys:
        return "the file holds no tensor with its weights: they are computed when the model runs"
    if len(keys) > 1:
        return f"{len(keys)} tensors of the file hold its weights ({', '.join(key for key, _ in keys[:3])})"
    if layers > 1 or keys[0][0] in shared:
        return (
            f"its weights ({keys[0][0]}) are used more than once, or computed with: changing them would "
            "break a structure"
        )
    return ""


def _content(weight: Tensor) -> str:
    """The same for the same numbers in any order."""
    return digest([weight.flatten().sort().values + 0.0])


def _holds(tensor: Tensor, weight: Tensor) -> bool | None:
    """Whether it holds these numbers transposed; None if it does not hold them."""
    if tensor.dtype not in TYPES or tensor.numel() != weight.numel() or not tensor.numel():
        return None
    wide = tensor.double()
    if torch.equal(wide.flatten(), weight.flatten()):
        return False
    transposed = wide.reshape(-1, weight.shape[0]).T
    return True if torch.equal(transposed, weight.reshape(weight.shape[0], -1)) else None


def _factors(stored: Tensor, folded: Tensor, groups: int) -> Tensor | None:
    """F with folded = F∘stored, the same for all taps of a kernel; None if there is none."""
    if torch.equal(stored, folded):
        return torch.ones_like(stored)
    taps = stored.reshape(*stored.shape[:2], -1)
    largest = taps.abs().argmax(dim=2, keepdim=True)
    base = taps.gather(2, largest)[..., 0]
    quotient = folded.reshape(taps.shape).gather(2, largest)[..., 0] / torch.where(base == 0, 1.0, base)
    blocks = zip(quotient.chunk(groups), (base != 0).chunk(groups), strict=True)
    quotient = torch.cat([_completed(*block) for block in blocks])
    factors = quotient[..., None].expand_as(taps).reshape(stored.shape)
    error = (factors * stored - folded).abs()
    return factors if bool((error <= CLOSE * folded.abs()).all()) else None


def _completed(quotients: Tensor, known: Tensor) -> Tensor:
    """F where a weight is 0 and does not tell: what is folded in scales rows and columns, F = r·cᵀ.

    From one row on, known entries give the factors of columns, those of more rows, and so on; entries that no
    such chain leads to stay 0, and their weights as they are.
    """
    if bool(known.all()):
        return quotients
    quotients = torch.where(known, quotients, 0.0)
    found, waiting = torch.zeros_like(quotients), (quotients != 0).any(1)
    while bool(waiting.any()):
        rows, columns = quotients.new_zeros(len(quotients)), quotients.new_zeros(quotients.shape[1])
        rows[waiting.nonzero()[0]] = 1.0
        before = 0
        while int((rows != 0).sum()) > before:
            before = int((rows != 0).sum())
            columns = _spread(quotients, rows, columns)
            rows = _spread(quotients.T, columns, rows)
        found += rows[:, None] * columns
        waiting &= rows == 0
    agree = (found - quotients).abs() <= CHAINED * quotients.abs()
    return torch.where(known, quotients, found) if bool(agree[known].all()) else quotients


def _spread(quotients: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Factors of columns that meet a row whose factor is known."""
    met = (quotients * (rows != 0)[:, None]).abs().argmax(dim=0, keepdim=True)
    base = rows[met[0]]
    seen = quotients.gather(0, met)[0] / torch.where(base == 0, 1.0, base)
    return torch.where((columns == 0) & (base != 0), seen, columns)
