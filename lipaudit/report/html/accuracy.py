"""Certified accuracy against radius, and how the radii are distributed."""

from __future__ import annotations

from lipaudit.report.html.curve import beyond_axis, curve_picture
from lipaudit.report.html.histogram import Bins, bins_of, histogram_picture
from lipaudit.report.html.markup import Markup, heading, stacking, table, tag
from lipaudit.report.html.steps import MOST, proved_steps, radii_of
from lipaudit.report.model import Evidence, Robustness
from lipaudit.report.second_order import margin_counts, radii_text
from lipaudit.report.wording import (
    NOT_ANALYSED,
    eps_text,
    percent_down,
    percent_up,
    radius_text,
)

__all__ = ["accuracy_section", "radius_at"]

_WIDE, _NARROW = (760, 380), (380, 330)
_SHARES = (95, 90, 75, 50, 25, 10, 5, 1)


def accuracy_section(evidence: Evidence) -> Markup:
    """Curve, table and histogram; a sentence where no sample was evaluated."""
    parts: list[Markup | None] = [heading(2, "Certified accuracy", "accuracy")]
    robustness = evidence.robustness
    if evidence.dataset is None:
        parts.append(
            tag("p", f"{NOT_ANALYSED} No data set was given, so no answer was certified.", class_="lead")
        )
    elif robustness is None or robustness.clean_accuracy.n == 0:
        parts.append(tag("p", f"{NOT_ANALYSED} No sample of the data set was evaluated.", class_="lead"))
    else:
        drawn = bool(proved_steps(robustness))
        nothing = tag("p", "No sample is certified at any radius.", class_="lead")
        parts += [
            tag("p", _LEAD, class_="lead"),
            _curve_figure(evidence, robustness) if drawn else nothing,
            _asked(robustness),
        ]
        parts += _radii(robustness)
    return tag("section", *parts, aria_labelledby="accuracy")


_LEAD = (
    "A sample counts as certified at a radius if its answer is correct and provably stays so under every "
    "change of at most this l2 distance. Between the two curves lies what nobody has proved or refuted yet."
)


def _curve_figure(evidence: Evidence, robustness: Robustness) -> Markup:
    notes = []
    far = beyond_axis(robustness)
    if far:
        listed = ", ".join(f"{eps_text(p.eps_exact)} ({p.certified_count:,} certified)" for p in far)
        notes.append(f"Asked radii beyond the axis: {listed}.")
    radii = radii_of(robustness)
    if radii is None:
        notes.append(
            "The report holds no radii of single samples: the curve is known at the asked radii only."
        )
    elif len(set(radii)) > MOST:
        notes.append(f"Drawn with {MOST} steps, each at or below the true count.")
    return tag(
        "figure",
        curve_picture(evidence, robustness, _WIDE, "curve", "wide"),
        curve_picture(evidence, robustness, _NARROW, "curve-small", "narrow"),
        tag("figcaption", " ".join(["Counts, not estimates: steps are never interpolated.", *notes])),
        class_="picture",
    )


def _asked(robustness: Robustness) -> Markup:
    clean, alone = robustness.clean_accuracy, margin_counts(robustness)
    extra = [] if alone is None else ["#by margins alone"]
    share = percent_down(clean.count, clean.n)
    rows = [["0 (correct answers)", f"{clean.count:,}", f"{clean.n:,}", share, "", "", *("" for _ in extra)]]
    for number, point in sorted(enumerate(robustness.curve), key=lambda pair: pair[1].eps):
        top = point.possible_count
        rows.append(
            [
                eps_text(point.eps_exact),
                f"{point.certified_count:,}",
                f"{point.n:,}",
                percent_down(point.certified_count, point.n),
                NOT_ANALYSED if top is None else f"{top:,}",
                NOT_ANALYSED if top is None else percent_up(top, point.n),
                *([] if alone is None else [f"{alone[number]:,}"]),
            ]
        )
    caption = "Certified accuracy at the asked radii; shares are rounded down, the last one up"
    columns = ("l2 radius", "#certified", "#of", "#share", "#possible at most", "#share at most", *extra)
    return stacking(caption, columns, rows)


def _median_words(robustness: Robustness) -> str:
    if robustness.median_radius == 0:
        return "At least half of the samples have no certificate."
    return f"At least half of the samples have a radius of {radius_text(robustness.median_radius)} or more."


def _radii(robustness: Robustness) -> list[Markup]:
    told = radii_text(robustness)
    how = (
        f"{'Radii by ' if robustness.curvature is None else ''}{told}, in {robustness.arithmetic} arithmetic."
    )
    parts = [
        heading(3, "Certified radii"),
        tag("p", f"{_median_words(robustness)} {how}"),
    ]
    bins = bins_of(robustness)
    if bins is None:
        return [*parts, tag("p", f"{NOT_ANALYSED} The report holds no radii of single samples.")]
    pictures = [
        histogram_picture(bins, robustness, size, anchor, class_)
        for size, anchor, class_ in ((_WIDE, "radii", "wide"), (_NARROW, "radii-small", "narrow"))
        if bins.counts
    ]
    data = tag("details", tag("summary", "Radii as tables"), _shares(robustness), _counts(bins))
    if pictures:
        parts.append(tag("figure", *pictures, class_="picture"))
    return [*parts, data]


def radius_at(robustness: Robustness, percent: int) -> float | None:
    """The largest radius below which at least `percent` of the samples stay certified; None if none does."""
    radii = radii_of(robustness) or ()
    needed = -(-percent * len(radii) // 100)
    radius = radii[len(radii) - needed] if needed else 0.0
    return radius or None


def _shares(robustness: Robustness) -> Markup:
    found = [(share, radius_at(robustness, share)) for share in _SHARES]
    rows = [(f"{share} %", NOT_ANALYSED if radius is None else _shown(radius)) for share, radius in found]
    caption = "Below which radius a share of all samples is certified; — where it is at none"
    return table(caption, ("at least", "#below radius"), rows)


def _shown(radius: float) -> str:
    return "unbounded" if radius == float("inf") else radius_text(radius)


def _counts(bins: Bins) -> Markup:
    rows = [("none", str(bins.none))]
    rows += [
        (f"{low:g} to {high:g}", f"{count:,}")
        for low, high, count in zip(bins.edges, bins.edges[1:], bins.counts, strict=False)
    ]
    if bins.without_end:
        rows.append(("unbounded", f"{bins.without_end:,}"))
    return table("Samples by certified radius, ranges without their upper end", ("radius", "#samples"), rows)
