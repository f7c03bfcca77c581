"""Discrete Fourier transforms: X_k = n^(−r/2) Σ_j x_j e^(±2πijk/n), on one axis after the other.

Complex numbers are pairs of real ones on a last axis (`pairs`).  With w_k = 1 where k and −k are one
frequency (k = 0, and n/2 for even n) and w_k = 2 elsewhere, an axis of period n is one of

    full    complex or real to complex, all n frequencies           ‖X‖² = n^(1−r) ‖x‖²
    half    real to the first ⌊n/2⌋ + 1 frequencies                 Σ w_k |X_k|² = n^(1−r) ‖x‖²
    real    the first ⌊n/2⌋ + 1 frequencies to real numbers,
            x_j = n^(−r/2) Σ_k w_k Re(X_k e^(±2πijk/n))             ‖x‖² ≤ n^(1−r) Σ w_k |X_k|²

Proof.  The n×n matrix n^(−½)(e^(2πijk/n)) is unitary.  A real x has X_{n−k} = conj X_k, so that the half with
weights w_k has the norm of the whole.  For `real`, let H be the whole spectrum with H_k = X_k and
H_{n−k} = conj X_k for w_k = 2, and H_k = Re X_k for w_k = 1: that is what the sum says, since there
e^(2πijk/n) = ±1.  So x is the full transform of H, and ‖H‖² = Σ_{w=2} 2|X_k|² + Σ_{w=1} (Re X_k)². ∎
Imaginary parts of frequencies that are their own mirror are not read, as in torch and in the ONNX operator.

Input longer than the period (or than ⌊n/2⌋ + 1, for `real`) is cropped, shorter input is filled up with
zeros; neither increases a norm.  Several axes are several such maps: `half` comes first, `real` last.

**Rounding.**  The transform is a product with the n×n matrix in float64, not an FFT, whose accuracy depends
on the library.  Angles are reduced to |jk mod n| ≤ n/2 in whole numbers; two roundings of 2πr/n, the
constant's own and 2 ulp of cos and sin make 14u per entry, the factor n^(−r/2) at most 4u more.  So with K
terms per sum

    ‖fl(Tx) − Tx‖ ≤ (γ_{K+4} ‖|fl T|‖ + 20u·max|T_jk|·√(size of T)) ‖x‖.

Van Loan (1992), Computational Frameworks for the Fast Fourier Transform, ch. 1 and 4.3 (real data);
Higham (2002), sec. 3.5.  Conventions: torch.fft; ONNX operator DFT.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import torch
from torch import Tensor

from lipaudit.graph.node import BoundMap, Gain, Shape
from lipaudit.ops.spec import Args, Live, OpSpec, Untranslatable
from lipaudit.rounding import UNDERFLOW, UNIT, gamma, sqrt_up, up
from lipaudit.spectral.maps import Dense
from lipaudit.spectral.schur import schur_bound

__all__ = ["ROWS", "Axis", "Fourier"]

LARGEST = 2048
"""Longest period: its matrix has 2·10⁷ entries."""
SLACK = 1.001
"""More than the roundings in the few numbers that make up an error."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis.

    Args:
        place: which one, not counting the last axis of pairs.
        taken: extent of the input.
        period: n.
        kind: full, half or real.
    """

    place: int
    taken: int
    period: int
    kind: str

    @property
    def made(self) -> int:
        """Extent of the output."""
        return self.period // 2 + 1 if self.kind == "half" else self.period

    @property
    def kept(self) -> int:
        """How many input cells take part."""
        return min(self.taken, self.period // 2 + 1 if self.kind == "real" else self.period)

    def weights(self, count: int) -> Tensor:
        """w_k for k < count."""
        k = torch.arange(count)
        return torch.where((2 * k) % self.period == 0, 1.0, 2.0).double()


@dataclass(frozen=True, slots=True, eq=False)
class Fourier:
    """Transforms along several axes.

    Args:
        axes: in order.
        sign: of the exponent.
        power: r above; 0, 1 or 2.
        from_real: the input is real, so it has no last axis of pairs.
        to_real: the output is.
    """

    axes: tuple[Axis, ...]
    sign: int
    power: int
    from_real: bool
    to_real: bool
    matrices: tuple[Tensor, ...] = field(init=False)

    def __post_init__(self) -> None:
        made = tuple(self._matrix(axis, self._parts(index)) for index, axis in enumerate(self.axes))
        object.__setattr__(self, "matrices", made)

    @property
    def name(self) -> str:
        """Such as fourier_half or fourier_full_inverse."""
        kind = next((a.kind for a in self.axes if a.kind != "full"), "full")
        return f"fourier_{kind}{'_inverse' if self.sign > 0 else ''}"

    def _parts(self, index: int) -> tuple[int, int]:
        """Real numbers per input and per output cell of that axis."""
        return 1 if self.from_real and index == 0 else 2, 1 if self.axes[index].kind == "real" else 2

    def _matrix(self, axis: Axis, parts: tuple[int, int]) -> Tensor:
        """(taken·parts, made·parts) float64: one axis as a matrix to multiply with from behind."""
        n, kept = axis.period, axis.kept
        turns = torch.outer(torch.arange(kept), torch.arange(axis.made)) % n
        turns = torch.where(2 * turns > n, turns - n, turns)
        angle = 2 * math.pi * turns.double() / n
        # At half a turn the sine is 0, not what is left of π.
        cos, sin = torch.cos(angle), torch.where((2 * turns) % n == 0, 0.0, torch.sin(angle)) * self.sign
        weights = axis.weights(kept)[:, None] if axis.kind == "real" else torch.ones(1, dtype=torch.float64)
        scale = weights * (1.0 / n if self.power == 2 else n**-0.5 if self.power == 1 else 1.0)
        entries = (
            torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], 1)
            * scale[..., None, None]
        )
        used = torch.zeros(axis.taken, 2, axis.made, 2, dtype=torch.float64)
        used[:kept] = entries
        taken, made = parts
        return used[:, :taken, :, :made].reshape(axis.taken * taken, axis.made * made)

    def forward(self, *xs: Tensor) -> Tensor:
        """The transform itself, as products with matrices."""
        y = xs[0].unsqueeze(-1) if self.from_real else xs[0]
        for index, (axis, matrix) in enumerate(zip(self.axes, self.matrices, strict=True)):
            rows = y.movedim(axis.place, -2).flatten(-2) @ matrix.to(y.dtype)
            y = rows.unflatten(-1, (axis.made, self._parts(index)[1])).movedim(-2, axis.place)
        return y.squeeze(-1) if self.to_real else y

    def squared(self, axis: Axis) -> Fraction:
        """n^(1−r)."""
        return Fraction(axis.period) ** (1 - self.power)

    def norm(self) -> float:
        """A bound of the whole: the weights w_k that `real` asks for are at most 2."""
        total = Fraction(1)
        for axis in self.axes:
            heaviest = axis.weights(axis.kept).max() if axis.kind == "real" and axis.kept else 1.0
            total *= self.squared(axis) * Fraction(float(heaviest))
        return sqrt_up(up(total))

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """√∏ n^(1−r), times √2 where one frequency stands for two."""
        del shapes, spectral
        return Gain.of(self.norm(), "fourier")

    def error(self, shapes: tuple[Shape, ...], norms: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """Each axis rounds by itself; those behind it carry that on."""
        del shapes, out
        size, error = 1.0, 0.0
        for axis, matrix in zip(self.axes, self.matrices, strict=True):
            largest = 2.0 * axis.period ** (-self.power / 2)
            own = gamma(len(matrix) + 4) * schur_bound(Dense(matrix))
            own += 20 * UNIT * largest * math.sqrt(matrix.numel())
            step = math.sqrt(2 * self.squared(axis))
            size, error = step * size, step * error + own * (size + error)
        return SLACK * error * norms[0] + UNDERFLOW


def _modes(norm: str | None, *, forward: bool) -> int:
    """r, from torch's names of normalisations."""
    if norm in (None, "backward"):
        return 0 if forward else 2
    if norm == "ortho":
        return 1
    if norm == "forward":
        return 2 if forward else 0
    raise Untranslatable(f"a Fourier transform normalised as {norm!r} has no rule")


def _transform(
    args: Args, axes: Sequence[tuple[int, int | None]], kind: str, sign: int, power: int
) -> Fourier:
    """The op for pairs (axis, period or None for the input's own); the last pair's axis is `kind`."""
    live = args.values["self"]
    shape = args.ref("self")
    real = isinstance(live, Live) and not live.paired
    cells = shape if real else shape[:-1]
    if not axes or (kind != "half") != (not real or kind == "full"):
        raise Untranslatable(f"{args.target} over such an input has no rule")
    made = []
    for index, (place, period) in enumerate(axes):
        here, taken = kind if index == len(axes) - 1 else "full", cells[place]
        n = period if period is not None else 2 * (taken - 1) if here == "real" else taken
        if not 1 <= n <= LARGEST or taken < 1:
            raise Untranslatable(f"a Fourier transform of {n} points has no rule")
        made.append(Axis(place % len(cells), taken, n, here))
    if len({axis.place for axis in made}) < len(made):
        raise Untranslatable("a Fourier transform names an axis twice")
    # Real input meets the last axis first, real output the last axis last.
    ordered = tuple(made[::-1] if real else made)
    return Fourier(ordered, sign, power, real, kind == "real")


def _public(kind: str, *, forward: bool, many: bool) -> Callable[[Args], Fourier]:
    """aten.fft_*: one axis with `n`, or several with `s`."""

    def translate(args: Args) -> Fourier:
        power = _modes(args.attr("norm"), forward=forward)
        live = args.values["self"]
        rank = len(live.shape) - live.paired if isinstance(live, Live) else 0
        given = args.attr("dim")
        if many:
            periods = args.attr("s")
            places = _places(given, periods, rank)
            periods = [None] * len(places) if periods is None else [None if n == -1 else n for n in periods]
        else:
            places, periods = [given % rank], [args.attr("n")]
        if len(places) != len(periods):
            raise Untranslatable(f"{args.target} names as many lengths as axes")
        pairs = list(zip(places, periods, strict=True))
        return _transform(args, pairs, kind, -1 if forward else 1, power)

    return translate


def _places(dims: Sequence[int] | None, periods: Sequence[int] | None, rank: int) -> list[int]:
    """All axes, or the last ones if only their lengths are given."""
    if dims is not None:
        return [d % rank for d in dims]
    return list(range(0 if periods is None else rank - len(periods), rank))


def _from_real(args: Args) -> Fourier:
    """aten._fft_r2c."""
    kind = "half" if args.attr("onesided") else "full"
    return _inner(args, kind, -1)


def _complex(args: Args) -> Fourier:
    """aten._fft_c2c."""
    return _inner(args, "full", -1 if args.attr("forward") else 1)


def _to_real(args: Args) -> Fourier:
    """aten._fft_c2r."""
    return _inner(args, "real", 1, args.attr("last_dim_size"))


def _inner(args: Args, kind: str, sign: int, last: int | None = None) -> Fourier:
    """torch's own primitives; they number the normalisations: none, by √N, by N."""
    live, power = args.values["self"], args.attr("normalization")
    rank = len(live.shape) - live.paired if isinstance(live, Live) else 0
    places = [d % rank for d in args.attr("dim")]
    periods = [*(None for _ in places[1:]), last]
    if power not in (0, 1, 2):
        raise Untranslatable(f"normalisation {power} has no rule")
    return _transform(args, list(zip(places, periods, strict=True)), kind, sign, power)


ROWS = (
    *(
        OpSpec((f"aten.fft_{name}{suffix}.default",), _public(kind, forward=forward, many=bool(suffix)))
        for name, kind, forward in (
            ("fft", "full", True), ("ifft", "full", False), ("rfft", "half", True),
            ("irfft", "real", False), ("hfft", "real", True), ("ihfft", "half", False),
        )
        for suffix in ("", "2", "n")
    ),
    OpSpec(("aten._fft_r2c.default",), _from_real),
    OpSpec(("aten._fft_c2c.default",), _complex),
    OpSpec(("aten._fft_c2r.default",), _to_real),
)  # fmt: skip
