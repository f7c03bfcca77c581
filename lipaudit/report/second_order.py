"""Radii that rest on the curvature of the network: what was known → its record → words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lipaudit.report.exact import read_exact
from lipaudit.report.model import Curvature, Robustness
from lipaudit.report.number import Number, as_double, plain_down
from lipaudit.report.wording import plural, printable

if TYPE_CHECKING:
    from lipaudit.certify.dataset import Certification

__all__ = ["curvature_record", "curved_indices", "margin_counts", "radii_text"]


def curvature_record(run: Certification) -> Curvature | None:
    """What was known of the network's curvature, and which radii rest on it: what it adds can be read."""
    bent = run.bent
    if bent is None:
        return None
    activation, radii, chosen = bent.net.activation, run.radii, run.radii.bent
    columns = (run.indices[chosen], radii.radius[chosen], radii.plain[chosen])
    named = {
        index: plain_down(plain)
        for index, radius, plain in zip(*(column.tolist() for column in columns), strict=True)
        if as_double(plain_down(plain)) < as_double(plain_down(radius))
    }
    return Curvature(
        layer=activation.name,
        activation=activation.op.name,
        units=math.prod(activation.shape),
        norm=Number.from_bound(bent.net.norm),
        largest=Number.from_bound(bent.largest),
        indices=tuple(named),
        by_margins=tuple(named.values()),
    )


def radii_text(robustness: Robustness) -> str:
    """What proved the radii.

    `w_y − w_j through the last dense layers`; where curvature is known, `961 of 984 radii above 0 by
    curvature (softplus, 256 units), the other 23 by margins (w_y − w_j through the last dense layers)`.
    """
    method, known = printable(robustness.method), robustness.curvature
    if known is None:
        return method
    bent, kind = len(known.indices), f"{printable(known.activation)}, {plural(known.units, 'unit')}"
    if robustness.samples is None:
        return f"{plural(bent, 'radius', 'radii')} by curvature ({kind}), the others by margins ({method})"
    positive = sum(sample.radius != 0 for sample in robustness.samples)
    rest = f"the other {positive - bent}" if positive > bent else "none"
    share = f"{bent} of {plural(positive, 'radius', 'radii')} above 0"
    return f"{share} by curvature ({kind}), {rest} by margins ({method})"


def margin_counts(robustness: Robustness) -> tuple[int, ...] | None:
    """How many samples margins alone certify at each radius of the curve; None if nobody can tell."""
    known, samples = robustness.curvature, robustness.samples
    if known is None or known.by_margins is None or samples is None:
        return None
    alone = dict(zip(known.indices, known.by_margins, strict=True))
    radii = [as_double(alone.get(sample.index, sample.radius)) for sample in samples if sample.correct]
    return tuple(sum(radius > read_exact(point.eps_exact) for radius in radii) for point in robustness.curve)


def curved_indices(robustness: Robustness | None) -> frozenset[int]:
    """The samples whose radius rests on curvature."""
    known = None if robustness is None else robustness.curvature
    return frozenset() if known is None else frozenset(known.indices)
