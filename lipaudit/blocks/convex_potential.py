"""Convex-potential and SDP-based residual blocks: y = h·x − Wᵀ R φ(Wx + b), R ≥ 0, slopes of φ in [0, 1].

**Statement.**  With S = ‖R^½W‖², R ≥ 0 diagonal, and any G in place of −WᵀR,

    Lip(h·x + Gφ(Wx + b)) ≤ max(|h|, |h − S|) + ‖G + WᵀR‖·‖W‖.

Proof.  For two inputs φ(u) − φ(u') = D(u − u') with D diagonal, 0 ≤ D ≤ I, so the outputs differ by (hI +
GDW)(x − x'), and hI + GDW = hI − WᵀRDW + (G + WᵀR)DW.  WᵀRDW = (R^½W)ᵀD(R^½W) is symmetric with eigenvalues
in [0, S]: the first two terms have norm at most max(|h|, |h − S|), the last one at most ‖G + WᵀR‖‖W‖. ∎

R is what makes G + WᵀR small, R_i = −⟨g_i, w_i⟩/‖w_i‖² for the columns of G and rows of W, negative ones
taken as 0.  So G = −WᵀR is never taken for granted, not even of one stored tensor: what is missing is
measured (a few roundings where a factor was folded into a kernel), and where the weight was changed,
transposed or shifted the last term grows until the rule says nothing new.  The roundings of diag(√R)W, of
the difference and of factors are counted in ulps.

**Nothing missing.**  Let W = CV, C = diag(c), c > 0, with the entries of G, V and c known exactly.  Let s_i ≥
0 and all entries of V be numbers of 24 bits.  Their products have at most 48 bits, so float64 holds them, and
s_iV_ij = −G_ji in float64 says the same of the real numbers.  Then G = −WᵀR with R = C⁻¹diag(s) and no
remainder, and

    Lip ≤ max(|h|, |h − S|),   S = ‖R^½W‖² = ‖diag(√(s∘c))V‖²,

which is |h| itself, 1 for h = 1, as soon as S ≤ 2h: a stored float32 block of CPL or SLL whose proved S is at
most 2 has constant 1, not 1 plus a rounding.  The quotient s/c, its root, c∘V and the last product round
once each: S is bounded as before, through the ulps of its entries.

Where h < 0 all of it is said of −y.

Stored: r = √R, |h|, the digest of the weights; spectral norms prove it again.

Meunier, Delattre, Araujo, Allauzen (2022), ICML; Araujo, Havens, Delattre, Allauzen, Hu (2023), ICLR (SLL).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor

from lipaudit.blocks.claim import Part, Proved, Rule, Stored, digest, numbers, stored_numbers, weights_of
from lipaudit.blocks.wiring import Map, Term, Wiring
from lipaudit.graph.node import BoundMap
from lipaudit.ops.linear import perturbed
from lipaudit.rounding import add_up, gamma, mul_up, up
from lipaudit.spectral.maps import Conv, Dense
from lipaudit.spectral.schur import schur_bound

__all__ = ["RULE", "Adjoint", "adjoint_pair", "norm_of"]

FAR = 0.5
"""Part of G that may be missing: beyond, two norms would be taken for nothing."""
SMALLEST = 2.0**-200
"""√R lies between it and its reciprocal, or is 0, so that no product of R and a weight is subnormal."""
NEGLIGIBLE = 1e-9
"""What a bound may exceed without a closer look."""


@dataclass(frozen=True, slots=True, eq=False)
class Adjoint:
    """A region z = φ(Wx + b), y = (…) + Gz whose maps have each other's transposed geometry.

    Args:
        inner: the term Wx.
        outer: the term Gz.
        W, G: taps of W (T, hidden, in) and of Gᵀ laid out alike (T, hidden, out).
        ulps: roundings of an entry of either.
        rest: the other terms of the output.
    """

    inner: Term
    outer: Term
    W: Tensor
    G: Tensor
    ulps: int
    rest: tuple[Term, ...]

    @property
    def map(self) -> Map:
        """The inner map."""
        if self.inner.map is None:
            msg = "a pair has two maps"
            raise AssertionError(msg)
        return self.inner.map


def adjoint_pair(wires: Wiring) -> Adjoint | None:
    """The two maps of a region with one hidden unit; None for other regions and other geometry."""
    if len(wires.hidden) != 1 or wires.hidden[0].linear or wires.output is None:
        return None
    pre = wires.hidden[0].pre.terms
    outer = [t for t in wires.output.terms if t.atom == 1]
    if len(pre) != 1 or len(outer) != 1 or pre[0].atom != 0:
        return None
    inner, back = pre[0], outer[0]
    if inner.map is None or back.map is None or not back.map.is_adjoint_of(inner.map):
        return None
    # Equal images: what one map reads from where, the other one writes there.
    if wires.image(wires.output.shape) != wires.image(wires.shape):
        return None
    W, G = inner.matrices(), back.map.laid_out_as(inner.map, back.matrices())
    if not (inner.is_tame and back.is_tame):
        return None
    rest = tuple(t for t in wires.output.terms if t.atom == 0)
    return Adjoint(inner, back, W, G, max(inner.roundings, back.roundings), rest)


def norm_of(linear_map: Conv | Dense, ulps: int, spectral: BoundMap, size: Tensor | None = None) -> float:
    """‖T‖ of a map whose entries err by γ_ulps·size (default: of their own size)."""
    absolute = schur_bound(linear_map if size is None else linear_map.with_weight(size))
    return perturbed(spectral(linear_map), ulps, absolute).value


def prove(part: Part) -> Proved | None:
    """max(|h|, |h − S|) + ‖G + WᵀR‖‖W‖ with the R that makes the last term small."""
    found = _block(part)
    if found is None:
        return None
    pair, h = found
    R = -(pair.G * pair.W).sum(dim=(0, 2)) / pair.W.square().sum(dim=(0, 2)).clamp(min=2.0**-1000)
    R = R.clamp(min=0.0)
    if not bool(R.any()) or float((pair.G + R[:, None] * pair.W).norm()) > FAR * float(pair.G.norm()):
        return None
    exact = _exact_root(pair)
    return _bounded(part, pair, h, R.sqrt() if exact is None else exact)


def confirm(part: Part, stored: Mapping[str, Stored]) -> Proved | None:
    """The same with the √R that was stored."""
    found = _block(part)
    if found is None:
        return None
    pair, h = found
    r = stored_numbers(stored, "scaling", pair.W.shape[1], SMALLEST, zero=True)
    return None if r is None else _bounded(part, pair, h, r.to(pair.W.device))


def _block(part: Part) -> tuple[Adjoint, float] | None:
    """The two maps and |h|; None for other regions."""
    pair = None if part.wires is None else adjoint_pair(part.wires)
    if pair is None or pair.G.shape != pair.W.shape:
        return None
    if len(pair.rest) != 1 or not pair.rest[0].is_diagonal:
        return None
    identity = pair.rest[0].left
    if not bool((identity == identity[0]).all()) or pair.rest[0].ulps:
        return None
    h = float(identity[0])
    # −1 times the block has the same constant.
    return (replace(pair, G=-pair.G), -h) if h < 0 else (pair, h)


def _bounded(part: Part, pair: Adjoint, h: float, r: Tensor) -> Proved | None:
    """The bound that r = √R gives: R is its exact square."""
    if part.wires is None or not bool(((r == 0) | ((r >= SMALLEST) & (r <= 1 / SMALLEST))).all()):
        return None
    potential = norm_of(pair.map.with_taps(r[:, None] * pair.W), pair.ulps + 6, part.spectral)
    exact = _exact_root(pair)
    missing = _missing(part, pair, r.square()) if exact is None or not torch.equal(r, exact) else 0.0
    if not math.isfinite(potential) or not math.isfinite(missing):
        return None
    above = up(max(Fraction(0), Fraction(potential) ** 2 - Fraction(h)))
    stored: dict[str, Stored] = {
        "h": h,
        "scaling": numbers(r),
        "weights_sha256": digest(weights_of(part.wires)),
    }
    return Proved(add_up(max(abs(h), above), missing), stored)


def _exact_root(pair: Adjoint) -> Tensor | None:
    """√R, rounded, of the R for which G = −WᵀR holds without a remainder; None where that is not known."""
    inner, outer = pair.inner, pair.outer
    if inner.map is None or inner.right is not None or inner.ulps or outer.roundings:
        return None
    V, c = inner.map.taps, inner.left
    if pair.G.shape != V.shape or not bool((c > 0).all()):
        return None
    # Where a row of V is zero, s is 0 and so must be the column of G.
    largest = V.abs().amax(dim=2, keepdim=True).amax(dim=0, keepdim=True)
    at = (V.abs() == largest).transpose(0, 1).flatten(1).int().argmax(dim=1, keepdim=True)
    top, back = (t.transpose(0, 1).flatten(1).gather(1, at)[:, 0] for t in (V, pair.G))
    s = torch.where(top == 0, 0.0, -back / top)
    exact = _is_narrow(s) and _is_narrow(V) and bool((s >= 0).all())
    if not exact or not torch.equal(s[:, None] * V, -pair.G):
        return None
    return (s / c).sqrt()


def _is_narrow(values: Tensor) -> bool:
    """Whether these are float32 numbers: products of two of them are float64 numbers."""
    return torch.equal(values, values.float().double())


def _missing(part: Part, pair: Adjoint, R: Tensor) -> float:
    """‖G + WᵀR‖·‖W‖; where roundings alone are missing, row and column sums say enough."""
    folded = R[:, None] * pair.W
    size = pair.map.with_taps(pair.G.abs() + folded.abs())
    defect, inner = pair.map.with_taps(pair.G + folded), pair.map.with_taps(pair.W)
    lost = mul_up(gamma(pair.ulps + 4), schur_bound(size))
    rough = mul_up(add_up(schur_bound(defect), lost), schur_bound(inner), 1 + gamma(pair.ulps))
    if rough <= NEGLIGIBLE:
        return rough
    known = norm_of(defect, pair.ulps + 4, part.spectral, size.weight)
    return mul_up(known, norm_of(inner, pair.ulps, part.spectral))


RULE = Rule("convex potential", "h·x − Wᵀ R φ(Wx + b) (CPL, SLL)", prove, confirm)
