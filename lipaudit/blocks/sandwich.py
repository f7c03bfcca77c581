"""Sandwich layers: y = Gφ(Wx + b), bounded by one norm of both maps side by side.

**Statement.**  For every diagonal Ψ > 0 and φ with slopes in [0, 1]:

    Lip(x ↦ Gφ(Wx + b)) ≤ ½·‖[Ψ⁻¹Gᵀ, ΨW]‖².

Proof.  A directional derivative is GDW with D diagonal, 0 ≤ D ≤ I.  For unit vectors a, c let p = Ψ⁻¹Gᵀa and
q = ΨWc.  Then aᵀGDWc = Σ d_i p_i q_i ≤ Σ max(p_i q_i, 0) ≤ Σ (p_i + q_i)²/4 ≤ ¼‖[Ψ⁻¹Gᵀ, ΨW]‖²(‖a‖² + ‖c‖²). ∎

At G = √2·AᵀΨ, W = √2·Ψ⁻¹B with AAᵀ + BBᵀ = I this is ‖[A, B]‖² = 1 up to rounding.  Ψ is not stored in such
a layer: its logarithms solve ψ_i²ψ_j² = −(GᵀG)_ij/(WWᵀ)_ij, i ≠ j, in the sense of least squares; balanced
columns ψ_i² = ‖g_i‖/‖w_i‖ are the other start, and some steps of descent improve either.  None of that
matters to the proof.  Convolutions: the same with one norm of a convolution of both kernels side by side; the
descent goes by the mean over all frequencies there, and of its start and its end the better one is taken, as
samples of the symbol tell.

Stored: Ψ, the digest of the weights; one spectral norm proves it again.

Wang, Manchester (2023), "Direct parameterization of Lipschitz-bounded deep networks", ICML.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lipaudit.blocks.claim import Part, Proved, Rule, Stored, digest, numbers, stored_numbers, weights_of
from lipaudit.blocks.convex_potential import Adjoint, adjoint_pair, norm_of
from lipaudit.rounding import mul_up

__all__ = ["RULE"]

LARGEST = 4096
"""Hidden channels up to which Ψ is looked for."""
STEPS, RATE = 80, 0.05
SAMPLES = 6
"""Frequencies per axis at which two scalings of a convolution are compared."""
FARTHEST = 20.0
"""Natural logarithms by which a start may differ from the balanced one."""
SMALLEST = 1e-100
"""Ψ lies between it and its reciprocal, so that no product of it and a weight is subnormal."""
FINE = 256
"""Hidden channels up to which Ψ is improved by descent."""


def prove(part: Part) -> Proved | None:
    """½‖[Ψ⁻¹Gᵀ, ΨW]‖² with the best Ψ found."""
    pair = _pair(part)
    psi = None if pair is None else _scaling(pair)
    return None if pair is None or psi is None else _bounded(part, pair, psi)


def confirm(part: Part, stored: Mapping[str, Stored]) -> Proved | None:
    """The same with the Ψ that was stored."""
    pair = _pair(part)
    psi = None if pair is None else stored_numbers(stored, "psi", pair.W.shape[1], SMALLEST)
    return None if pair is None or psi is None else _bounded(part, pair, psi.to(pair.W.device))


def _pair(part: Part) -> Adjoint | None:
    """The two maps, if nothing else leads to the output."""
    pair = None if part.wires is None else adjoint_pair(part.wires)
    return None if pair is None or pair.rest or pair.W.shape[1] > LARGEST else pair


def _bounded(part: Part, pair: Adjoint, psi: Tensor) -> Proved | None:
    if part.wires is None:
        return None
    both = torch.cat([pair.G / psi[:, None], pair.W * psi[:, None]], dim=2)
    norm = norm_of(pair.map.with_taps(both), pair.ulps + 2, part.spectral)
    stored: dict[str, Stored] = {"psi": numbers(psi), "weights_sha256": digest(weights_of(part.wires))}
    return Proved(mul_up(0.5, norm, norm), stored)


def _scaling(pair: Adjoint) -> Tensor | None:
    """Ψ, from the better of two starts."""
    W, G = (taps.transpose(0, 1).flatten(1) for taps in (pair.W, pair.G))
    rows, columns = torch.linalg.vector_norm(W, dim=1), torch.linalg.vector_norm(G, dim=1)
    live = (rows > 0) & (columns > 0)
    if not bool(live.any()):
        return None
    psi = torch.ones_like(rows)
    W, G = W[live], G[live]
    balanced = (columns[live] / rows[live]).log() / 2
    starts = [balanced, _least_squares(G @ G.T, W @ W.T)]
    tame = [start for start in starts if bool(((start - balanced).abs() < FARTHEST).all())]
    try:
        best = min(tame, key=lambda start: float(_size(start, W, G)), default=balanced)
        if len(W) <= FINE:
            ends = [best, _descended(best, W, G)]
            taps = pair.W[:, live], pair.G[:, live]
            best = min(ends, key=lambda end: _peak(end, *taps, pair.map.offsets))
        psi[live] = best.exp()
    except RuntimeError:
        return None  # scales too far apart for a search
    return psi if bool(((psi >= SMALLEST) & (psi <= 1 / SMALLEST)).all()) else None


def _least_squares(outer: Tensor, inner: Tensor) -> Tensor:
    """log ψ from log ψ_i + log ψ_j = ½·log(−outer_ij/inner_ij), weighted by how much the pair counts."""
    ratio = -outer / torch.where(inner == 0, 1.0, inner)
    valid = (ratio > 0) & (inner != 0)
    valid.fill_diagonal_(fill_value=False)
    weight = torch.where(valid, (outer * inner).abs(), 0.0)
    target = torch.where(valid, ratio.clamp(min=1e-300).log() / 2, 0.0)
    # Normal equations of Σ weight·(x_i + x_j − target_ij)²; the small diagonal is for units that meet none.
    matrix = weight + torch.diag(weight.sum(1) + 1e-12 * (weight.max() + 1e-300))
    result: Tensor = torch.linalg.solve(matrix, (weight * target).sum(1))
    return result


def _size(logs: Tensor, W: Tensor, G: Tensor) -> Tensor:
    """½‖[Ψ⁻¹G, ΨW]‖² of the flattened taps: a stand-in for the convolution's, and its own for matrices."""
    psi = logs.exp()[:, None]
    both = torch.cat([G / psi, W * psi], dim=1)
    result: Tensor = torch.linalg.eigvalsh(both @ both.T)[-1] / 2
    return result


def _peak(logs: Tensor, W: Tensor, G: Tensor, offsets: Tensor) -> float:
    """The largest ‖[Ψ⁻¹Ĝ(ω), ΨŴ(ω)]‖ over a few frequencies ω; the norm itself for matrices."""
    psi = logs.exp()[:, None]
    both = torch.cat([G / psi, W * psi], dim=2)
    angles = torch.linspace(0, 2 * torch.pi, SAMPLES + 1, dtype=torch.float64, device=W.device)[:-1]
    axes = offsets.shape[1]
    grid = torch.cartesian_prod(*[angles] * axes).reshape(-1, axes) if axes else angles.new_zeros(1, 0)
    phases = torch.polar(torch.ones(len(grid), len(both)).to(both), grid @ offsets.to(both).T)
    symbols = torch.einsum("ft,thc->fhc", phases, both.to(phases.dtype))
    return float(torch.linalg.eigvalsh(symbols @ symbols.mH)[:, -1].max())


def _descended(start: Tensor, W: Tensor, G: Tensor) -> Tensor:
    logs = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([logs], lr=RATE)
    best, kept = float("inf"), start
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - step / STEPS)
        value = _size(logs, W, G)
        if float(value.detach()) < best:
            best, kept = float(value.detach()), logs.detach().clone()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return kept


RULE = Rule("sandwich", "½‖[Ψ⁻¹Gᵀ, ΨW]‖² for G φ(Wx + b)", prove, confirm)
