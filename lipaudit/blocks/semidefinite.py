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

from lipaudit.blocks.claim import Part, Proved, Rule, digest, numbers, weights_of
from lipaudit.blocks.multiplier import search
from lipaudit.blocks.pencil import layout
from lipaudit.rounding import sqrt_up

__all__ = ["RULE"]


def prove(part: Part) -> Proved | None:
    """√ρ, if it is worth the search."""
    if part.wires is None:
        return None
    plan = layout(part.wires)
    found = None if plan is None else search(plan, part.budget, part.best * part.best)
    if plan is None or found is None:
        return None
    return Proved(
        sqrt_up(found.rho),
        {
            "rho": found.rho.hex(),
            "multipliers": tuple(numbers(m) for m in found.multipliers),
            "grid": plan.grid,
            "weights_sha256": digest(weights_of(part.wires)),
        },
    )


RULE = Rule(
    "semidefinite",
    "LMI with a diagonal multiplier, at every frequency: any part of convolutions or dense layers, sums, "
    "concatenations and activations with slopes in [0, 1]",
    prove,
)
