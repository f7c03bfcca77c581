"""Layers inside parts that their structure bounds: weights in two places, or normalised together.

**Rule.**  Convex potentials and skew polynomials fire only where weights are tied.  The sandwich rule speaks
of any Gφ(Wx + b); made for it are the parts with AAᵀ + BBᵀ = I for A = Ψ⁻¹Gᵀ/√2, B = ΨW/√2 and the Ψ of the
proof, that is ‖G(Ψ⁻¹h)‖² + ‖Wᵀ(Ψh)‖² = 2‖h‖² for every h, which is seen at random h.  Any two dense layers
with an activation between them are no such part.

Wang, Manchester (2023), "Direct parameterization of Lipschitz-bounded deep networks", ICML.
"""

from __future__ import annotations

import torch

from lipaudit.blocks import Claim, convex_potential, sandwich, skew_exponential
from lipaudit.graph.graph import LayerGraph
from lipaudit.repair.network import Network
from lipaudit.repair.stored import linear_map_of

__all__ = ["structured"]

TIED = frozenset(rule.RULE.name for rule in (convex_potential, skew_exponential))
"""Rules that fire only where weights stand in several places."""
NEAR_ONE = 1e-3
"""How far the bound of a sandwich layer is from 1."""
SAMPLES, UNEVEN = 8, 0.01
"""Random h, and the relative error of the identity: what rounding and a cropped inverse transform leave."""


def structured(network: Network) -> dict[str, Claim]:
    """Layers inside such parts, with the claim that says so."""
    return {
        name: claim
        for claim in network.bound.claims
        if claim.bound.method in TIED or _is_sandwich(network.graph, claim)
        for name in claim.names
    }


def _is_sandwich(graph: LayerGraph, claim: Claim) -> bool:
    if claim.bound.method != sandwich.RULE.name or abs(claim.bound.value - 1) > NEAR_ONE:
        return False
    nodes = [node for node in graph if node.name in claim.names]
    maps = [found for node in nodes if (found := linear_map_of(node)) is not None]
    psi = claim.stored.get("psi")
    if len(maps) != 2 or not isinstance(psi, tuple):
        return True  # preprocessing or a factor lies between: it cannot be told, so nothing there is changed
    first, last = maps
    noise = torch.Generator().manual_seed(0)
    h = torch.randn(SAMPLES, *first.out_shape, generator=noise, dtype=torch.float64).to(first.weight.device)
    if h[0].numel() != torch.Size(last.in_shape).numel():
        return True
    scales = torch.tensor(psi, dtype=torch.float64, device=h.device)
    scales = scales.reshape(-1, *[1] * (len(first.out_shape) - 1))
    outer = last.apply((h / scales).reshape(SAMPLES, *last.in_shape)).flatten(1).square().sum(1)
    inner = first.adjoint(h * scales).flatten(1).square().sum(1)
    size = h.flatten(1).square().sum(1)
    return bool((((outer + inner) / (2 * size) - 1).abs() <= UNEVEN).all())
