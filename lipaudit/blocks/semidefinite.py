"""A whole region at once: one diagonal multiplier per hidden channel.

    ‖y − y'‖ ≤ √ρ·‖x − x'‖

for every region of linear maps, sums, concatenations and activations with slopes in [0, 1] (see `wiring`),
if the matrix inequality of `pencil` holds at every frequency; proof there.  It contains the bound for
averaged activations of two layers, the one for convex-potential blocks, and sums of linear maps that
share their source (no hidden unit is left, and √ρ is the norm of the sum).

Stored: ρ, Λ per hidden unit, the grid and the digest of the weights; `checker.positive` proves it again.

Fazlyab, Robey, Hassani, Morari, Pappas (2019), NeurIPS; Araujo, Havens, Delattre, Allauzen, Hu (2023),
"A unified algebraic perspective on Lipschitz neural networks", ICLR.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from lipaudit.blocks.claim import Part, Proved, Rule, Stored, digest, numbers, tame_numbers, weights_of
from lipaudit.blocks.multiplier import Found, search
from lipaudit.blocks.pencil import Layout, Pencil, layout
from lipaudit.blocks.wiring import Wiring
from lipaudit.rounding import coarse_up, sqrt_up

__all__ = ["RULE"]

SMALLEST = 2.0**-400
"""Stored Λ and ρ lie between it and its reciprocal, so that no step on the way leaves float64."""


def prove(part: Part) -> Proved | None:
    """√ρ, if it is worth the search."""
    if part.wires is None:
        return None
    plan = layout(part.wires)
    found = None if plan is None else search(plan, part.budget, part.best * part.best)
    if plan is None or found is None or not _is_tame(found):
        return None
    return _proved(part.wires, plan, found.multipliers, coarse_up(found.rho))


def confirm(part: Part, stored: Mapping[str, Stored]) -> Proved | None:
    """√ρ, if the inequality is proved at every frequency with the Λ and ρ that were stored."""
    if part.wires is None:
        return None
    plan, rho = layout(part.wires), _rho(stored)
    if plan is None or rho is None:
        return None
    rows = stored.get("multipliers")
    channels = [part.wires.channels(hidden.pre.shape) for hidden in part.wires.hidden]
    if not isinstance(rows, tuple) or len(rows) != len(channels):
        return None
    multipliers = []
    for row, count in zip(rows, channels, strict=True):
        found = tame_numbers(row, SMALLEST) if isinstance(row, tuple) and len(row) == count else None
        if found is None:
            return None
        multipliers.append(found.to(plan.first.device))
    if not bool(Pencil(plan, multipliers, rho).proved(plan.points).all()):
        return None
    return _proved(part.wires, plan, multipliers, rho)


def _is_tame(found: Found) -> bool:
    """Whether `confirm` takes what would be stored: a number that nobody can prove again is not claimed."""
    ends = [end for m in found.multipliers for end in (float(m.min()), float(m.max()))]
    return all(SMALLEST <= value <= 1 / SMALLEST for value in (found.rho, *ends))


def _rho(stored: Mapping[str, Stored]) -> float | None:
    """ρ as it was stored."""
    text = stored.get("rho")
    try:
        rho = float.fromhex(text) if isinstance(text, str) else math.nan
    except (ValueError, OverflowError):
        return None
    return rho if SMALLEST <= rho <= 1 / SMALLEST else None


def _proved(wires: Wiring, plan: Layout, multipliers: Sequence[Tensor], rho: float) -> Proved:
    return Proved(
        sqrt_up(rho),
        {
            "rho": rho.hex(),
            "multipliers": tuple(numbers(m) for m in multipliers),
            "grid": plan.grid,
            "weights_sha256": digest(weights_of(wires)),
        },
    )


RULE = Rule(
    "semidefinite",
    "LMI with a diagonal multiplier, at every frequency: any part of convolutions or dense layers, sums, "
    "concatenations and activations with slopes in [0, 1]",
    prove,
    confirm,
)
