"""What a rule gets to see, and what it hands back.

A rule speaks of a part of the graph between two values.  It proves a number or does not fire; what it
proved is stored so that it can be proved again without searching.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass

import torch
from torch import Tensor

from lipaudit.blocks.region import Region
from lipaudit.blocks.wiring import Map, Wiring
from lipaudit.bound import Bound
from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import BoundMap, Gain
from lipaudit.spectral.certificate import Certificate, digest

__all__ = [
    "Claim",
    "Part",
    "Proved",
    "Rule",
    "Stored",
    "digest",
    "linear_parts",
    "numbers",
    "stored_numbers",
    "tame_numbers",
    "weights_of",
]

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
    """One row of the table.

    Args:
        name: what reports call it.
        summary: what it is about, in one line.
        prove: a proof, its free choice searched for; None where the rule does not fire.
        confirm: the same with the free choice that was stored, which may be anything; nothing is searched
            for.  None where that proves nothing.
    """

    name: str
    summary: str
    prove: Callable[[Part], Proved | None]
    confirm: Callable[[Part, Mapping[str, Stored]], Proved | None]


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """‖end(x) − end(x')‖ ≤ bound·‖source(x) − source(x')‖ for all inputs of the network.

    `names` are the nodes it speaks of; `plain` is what their own gains would have given; `certificates` are
    of the norms that the rule asked for, in that order.
    """

    source: str
    end: str
    names: tuple[str, ...]
    bound: Bound
    plain: float
    stored: Mapping[str, Stored]
    certificates: tuple[Certificate, ...] = ()


def weights_of(wires: Wiring) -> list[Tensor]:
    """Every stored linear map of a region, in order."""
    values = [*(h.pre for h in wires.hidden), *([wires.output] if wires.output is not None else [])]
    maps: list[Map] = [t.map for value in values for t in value.terms if t.map is not None]
    return [m.linear.weight for m in maps]


def linear_parts(op: object) -> list[Tensor]:
    """The tensors that make an op linear, as they are stored: all but what is added to its result."""
    found = []
    for entry in fields(op) if is_dataclass(op) else ():
        value = getattr(op, entry.name)
        if isinstance(value, Tensor):
            found += [] if entry.name.startswith(("bias", "shift")) else [value]
        else:
            found += linear_parts(value)
    return found


def stored_numbers(
    stored: Mapping[str, object], name: str, count: int, least: float, *, zero: bool = False
) -> Tensor | None:
    """(count,) float64 of what was stored under a name; None if it is something else.

    Args:
        stored: of a claim, from anywhere.
        name: of the entry.
        count: how many numbers it must have.
        least: numbers have to lie between it and its reciprocal.
        zero: whether they may be 0 as well.
    """
    values = stored.get(name)
    if not isinstance(values, tuple) or len(values) != count:
        return None
    return tame_numbers(values, least, zero=zero)


def tame_numbers(values: tuple[object, ...], least: float, *, zero: bool = False) -> Tensor | None:
    """The same of the numbers themselves."""
    found = []
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        if not (least <= value <= 1 / least or (zero and value == 0)):
            return None
        found.append(float(value))
    return torch.tensor(found, dtype=torch.float64)


def numbers(tensor: Tensor) -> tuple[float, ...]:
    """Entries as plain numbers."""
    return tuple(float(x) for x in tensor.flatten().tolist())
