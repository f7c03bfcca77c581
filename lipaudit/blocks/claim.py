"""What a rule gets to see, and what it hands back.

A rule speaks of a part of the graph between two values.  It proves a number or does not fire; what it
proved is stored so that it can be proved again without searching.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from lipaudit.blocks.region import Region
from lipaudit.blocks.wiring import Map, Wiring
from lipaudit.bound import Bound
from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import BoundMap, Gain

__all__ = ["Claim", "Part", "Proved", "Rule", "Stored", "digest", "numbers"]

Stored = float | int | str | tuple[float, ...] | tuple[int, ...] | tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A region under a rule's eyes.

    Args:
        graph: the whole.
        region: the part.
        wires: its normal form, if it has one.
        gains: of its nodes, by name.
        plain: what they make of it; inf where one has none.
        best: the smallest number that is already known, `plain` at first.
        spectral: asks for norms of linear maps.
        budget: float operations that a search may take.
    """

    graph: LayerGraph
    region: Region
    wires: Wiring | None
    gains: Mapping[str, Gain]
    plain: float
    best: float
    spectral: BoundMap
    budget: float


@dataclass(frozen=True, slots=True)
class Proved:
    """An upper bound of the region's constant, and what it takes to prove it again."""

    value: float
    stored: Mapping[str, Stored] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table: `prove` returns None where the rule does not fire."""

    name: str
    summary: str
    prove: Callable[[Part], Proved | None]


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """‖end(x) − end(x')‖ ≤ bound·‖source(x) − source(x')‖ for all inputs of the network.

    `names` are the nodes it speaks of; `plain` is what their own gains would have given.
    """

    source: str
    end: str
    names: tuple[str, ...]
    bound: Bound
    plain: float
    stored: Mapping[str, Stored]


def digest(tensors: Sequence[Tensor]) -> str:
    """SHA-256 over shapes and float64 entries, little endian."""
    state = hashlib.sha256()
    for tensor in tensors:
        state.update(str(tuple(tensor.shape)).encode())
        state.update(tensor.detach().cpu().double().contiguous().numpy().astype("<f8").tobytes())
    return state.hexdigest()


def weights_of(wires: Wiring) -> list[Tensor]:
    """Every stored linear map of a region, in order."""
    values = [*(h.pre for h in wires.hidden), *([wires.output] if wires.output is not None else [])]
    maps: list[Map] = [t.map for value in values for t in value.terms if t.map is not None]
    return [m.linear.weight for m in maps]


def numbers(tensor: Tensor) -> tuple[float, ...]:
    """Entries as plain numbers."""
    return tuple(float(x) for x in tensor.flatten().tolist())
