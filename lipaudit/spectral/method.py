"""The record every spectral method exports.

A method's `compute` sees a plain convolution or a dense map whose largest weight lies in [½, 1); the
record does that scaling once for all of them, so that 1e-30 and 1e30 take the same path as 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from lipaudit.bound import Bound, Estimate
from lipaudit.errors import NotCovered
from lipaudit.rounding import down, scale_up
from lipaudit.spectral.checker import refuse_emulation, scaled
from lipaudit.spectral.maps import Conv, Dense, LinearMap, power_of_two

__all__ = ["DEFAULT", "LARGEST", "ZERO", "Effort", "Estimator", "Method", "Plain"]

Plain = Conv | Dense
"""A dense map, or a convolution that is not transposed."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard a method should try.

    Args:
        tolerance: relative excess over what the method can prove at best; searching closer is not worth it.
        memory: bytes that a method's own tensors may take at a time.
        operations: float operations after which a search takes what it has.
    """

    tolerance: float = 1e-7
    memory: int = 2**31
    operations: float = 1e11


DEFAULT = Effort()
ZERO = "all weights that meet an input are zero"
LARGEST = 2.0**500
"""Above the norm of every map whose weights are below 1, by hundreds of digits; its square is a float64, too.
A larger claim follows from this one."""
CONFIRMING = 1e12
"""Float operations of the longest search whose result can be confirmed."""


@dataclass(frozen=True, slots=True)
class Method:
    """A proof of an upper bound.

    Args:
        name: what reports and `--method` call it.
        summary: formula and conditions in one line.
        cost: rough float operations, to decide what to try.
        compute: the proved bound of a normalised plain map, given a proposal to try first and an effort.
            Raises NotCovered for maps it has no statement about, and nothing else.
        confirm: whether a given bound of a normalised plain map is proved, by the same means but without a
            search; raises NotCovered likewise.
        outdone_by: a method that is as tight wherever its cost is finite; `auto` leaves this one out there.
    """

    name: str
    summary: str
    cost: Callable[[Plain], float]
    compute: Callable[[Plain, float, Effort], float]
    confirm: Callable[[Plain, float, Effort], bool]
    outdone_by: str = ""

    def bound(self, linear_map: LinearMap, start: float = 0.0, effort: Effort = DEFAULT) -> Bound:
        """The proved bound of any map.

        Args:
            linear_map: a `Dense` or `Conv`.
            start: a value worth trying first, such as an Estimate.
            effort: how close, and within which memory.

        Raises:
            NotCovered: if the method has no statement about this map.
        """
        plain, exponent = prepare(linear_map)
        if not bool(plain.weight.any()):
            return Bound(0.0, self.name, ZERO)
        value = self.compute(plain, math.ldexp(start, -exponent) if start else 0.0, effort)
        # One more ulp pays for entries that scaling made subnormal.
        above = scale_up(math.nextafter(value, math.inf), exponent)
        if above == math.inf:
            return Bound.unbounded("the bound exceeds the largest float64", self.name)
        return Bound(above, self.name)

    def confirms(self, linear_map: LinearMap, tau: float, memory: int = DEFAULT.memory) -> bool:
        """Whether ‖T‖ ≤ τ is proved by this method, as it stands: nothing is searched for.

        What `bound` returned is confirmed; of closed forms and Gram iteration where sums round as they did.

        Args:
            linear_map: a `Dense` or `Conv`.
            tau: the claim.
            memory: bytes that the method's own tensors may take at a time.

        Returns:
            False proves nothing.
        """
        if not 0 <= tau < math.inf:
            return False
        plain, exponent = prepare(linear_map)
        if not bool(plain.weight.any()):
            return True
        # Undoes what `bound` did: one ulp more than this, scaled and rounded up, is at most τ.
        inner = min(math.nextafter(down(Fraction(tau) / Fraction(2) ** exponent), 0.0), LARGEST)
        try:
            return self.confirm(plain, inner, Effort(0.0, memory, CONFIRMING))
        except NotCovered:
            return False


@dataclass(frozen=True, slots=True)
class Estimator:
    """A search for a witness v: the norm is at least ‖Tv‖/‖v‖.

    `compute` gets a normalised plain map, a budget of applications and the relative gain of σ₁² (over some
    steps) below which it may stop; it returns the proved quotient.
    """

    name: str
    summary: str
    compute: Callable[[Plain, int, float], float]

    def estimate(self, linear_map: LinearMap, steps: int = 240, tolerance: float = 1e-5) -> Estimate:
        """The witnessed value, rounded down."""
        plain, exponent = prepare(linear_map)
        if not bool(plain.weight.any()):
            return Estimate(0.0, self.name)
        value = math.nextafter(self.compute(plain, steps, tolerance), 0.0)
        try:
            return Estimate(math.nextafter(math.ldexp(value, exponent), 0.0), self.name)
        except OverflowError:
            return Estimate(0.0, self.name, "the norm exceeds the largest float64")


def prepare(linear_map: LinearMap) -> tuple[Plain, int]:
    """A plain map whose largest weight lies in [½, 1), and the exponent that was taken out.

    Weights that scaling makes subnormal err by ≤ 2⁻¹⁰⁷⁵ each.  One ulp of the result pays for that, because
    the largest weight takes part in the map: a tap that only ever meets padding is left out before.
    """
    refuse_emulation()
    plain = linear_map.base().used() if isinstance(linear_map, Conv) else linear_map
    if not isinstance(plain, Conv | Dense):
        msg = f"not a linear map of this package: {linear_map!r}"
        raise TypeError(msg)
    exponent = power_of_two(plain.weight)
    return plain.with_weight(scaled(plain.weight, -exponent)), exponent
